//! The conformance suite on tokio, over QUIC on loopback.

use std::future::Future;

use mosaik_driver::{Config, conformance::Harness, quic::QuicTransport};
use mosaik_driver_tokio::TokioRuntime;

struct Tokio;

impl Harness for Tokio {
    type Runtime = TokioRuntime;
    type Transport = QuicTransport;

    fn run<F>(scenario: impl Fn(Self) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let _entered = runtime.enter();
        runtime.block_on(scenario(Self));
    }

    fn runtime(&self) -> TokioRuntime {
        TokioRuntime::current()
    }

    fn transport(&self, runtime: &TokioRuntime, config: &Config) -> QuicTransport {
        QuicTransport::bind(runtime.quinn(), config.key(), config.addrs()).expect("bound")
    }
}

mosaik_driver::conformance!(Tokio);
