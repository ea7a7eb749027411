//! Stops idle instances of a pool. The task for that runs only while there is something to stop.

use std::sync::Weak;

use futures_util::future::join_all;
use tokio::time::sleep_until;

use super::Pool;
use crate::instance::{Instance, InstanceFactory};
use crate::limits::Idle;

/// Stops instances when their time has come, until there are none left to watch.
pub(super) async fn watch<F: InstanceFactory>(pool: Weak<Pool<F>>, policy: Idle) {
    loop {
        let Some(found) = pool.upgrade().map(|pool| pool.take_idle(policy)) else { return };
        let (due, next) = found;
        if due.is_empty() {
            match next {
                Some(time) => sleep_until(time).await,
                None => return,
            }
            continue;
        }
        join_all(due.iter().map(|(_, instance)| instance.close())).await;
        let Some(pool) = pool.upgrade() else { return };
        due.iter().for_each(|(id, _)| pool.forget(*id));
    }
}
