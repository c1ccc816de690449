//! What has to fail in browsers, each in its own way: `web/tests/device.mjs` sees whether it does.

use gqa_device_test::test;

use super::support::*;
use crate::DType;

#[test]
fn a_result_that_is_wrong() {
    let tensor = tensor(&gpu(), &[3], vec![1.0, 2.0, 3.0], DType::F32).0;
    check("planted", &tensor, &[1.0, 2.5, 3.0], 1e-5);
}

#[test]
fn an_index_past_the_end() {
    let values = values(3, 1);
    assert_eq!(values[values.len()], 0.0);
}

#[test]
fn a_future_that_never_ends() {
    pollster::block_on(std::future::pending::<()>());
}
