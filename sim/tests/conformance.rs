//! The conformance suite in simulated worlds; with `--release` twenty seeds for every scenario.

use mosaik_sim::level2::SimHarness;

mosaik_driver::conformance!(SimHarness);
