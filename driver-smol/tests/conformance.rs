//! The conformance suite on smol, over QUIC on loopback: on the shared pool, and with everything in
//! one thread.

use std::{future::Future, sync::Arc};

use mosaik_driver::{Config, conformance::Harness, quic::QuicTransport};
use mosaik_driver_smol::{Executor, Smol, SmolRuntime, block_on};

fn bound(runtime: &SmolRuntime, config: &Config) -> QuicTransport {
    QuicTransport::bind(runtime.quinn(), config.key(), config.addrs()).expect("bound")
}

struct Pool;

impl Harness for Pool {
    type Runtime = SmolRuntime;
    type Transport = QuicTransport;

    fn run<F>(scenario: impl FnOnce(Self) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        block_on(scenario(Self));
    }

    fn runtime(&self) -> SmolRuntime {
        Smol::default().runtime()
    }

    fn transport(&self, runtime: &SmolRuntime, config: &Config) -> QuicTransport {
        bound(runtime, config)
    }
}

struct OneThread(Arc<Executor<'static>>);

impl Harness for OneThread {
    type Runtime = SmolRuntime;
    type Transport = QuicTransport;

    fn run<F>(scenario: impl FnOnce(Self) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let executor = Arc::new(Executor::new());
        block_on(executor.run(scenario(Self(Arc::clone(&executor)))));
    }

    fn runtime(&self) -> SmolRuntime {
        Smol::on(Arc::clone(&self.0)).runtime()
    }

    fn transport(&self, runtime: &SmolRuntime, config: &Config) -> QuicTransport {
        bound(runtime, config)
    }
}

mod pool {
    mosaik_driver::conformance!(super::Pool);
}

mod one_thread {
    mosaik_driver::conformance!(super::OneThread);
}
