//! Two nodes in one process find each other and stream one reading, on smol. Needs no network.
//!
//! ```text
//! cargo run --example quickstart_smol --features smol
//! ```

use mosaik::{
    discovery::Config,
    futures,
    smol::{Network, block_on},
    *,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct SensorReading {
    temp: f64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    block_on(run())
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    // The network's name is all that the two have in common. They look for each other at once;
    // without `with_local_discovery` they would do so after being alone for 8 seconds.
    let network_id = NetworkId::from("my-app");
    let at_once = || Config::builder().with_local_discovery(true);

    let sensor = async {
        let n0 = Network::builder(network_id).with_discovery(at_once()).build().await?;
        let producer = n0.streams().produce::<SensorReading>();
        producer.when().subscribed().minimum_of(1).await;
        producer.send(SensorReading { temp: 21.5 }).await?;
        Ok::<_, Box<dyn std::error::Error>>(n0)
    };
    let display = async {
        let n1 = Network::builder(network_id).with_discovery(at_once()).build().await?;
        let mut consumer = n1.streams().consume::<SensorReading>();
        let reading = consumer.next().await.ok_or("the network ended")?;
        println!("{:.1}", reading.temp);
        Ok::<_, Box<dyn std::error::Error>>(n1)
    };
    let (n0, n1) = futures::future::try_join(sensor, display).await?;
    futures::future::join(n0.shutdown(), n1.shutdown()).await;
    Ok(())
}
