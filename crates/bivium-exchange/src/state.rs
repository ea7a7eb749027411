//! [`ExchangeState`]: what an exchange, its blobs, areas and windows have in common.

use std::sync::Arc;

use crate::ledger::Ledger;
use crate::place::Places;

#[derive(Debug)]
pub(crate) struct ExchangeState {
    pub(crate) places: Places,
    pub(crate) ledger: Arc<Ledger>,
}
