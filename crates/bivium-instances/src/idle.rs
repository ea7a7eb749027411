//! Stops idle instances. The task for that runs only while there is something to stop.

use std::sync::Weak;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep_until;

use crate::pool::Pool;
use crate::{Instance, InstanceFactory};

/// When idle instances are stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idle {
    /// After this time without a call. The next call that needs an instance makes it again, with the configuration in force.
    pub after: Duration,
    /// This many are kept, however long they are idle.
    pub keep: u32,
}

/// Stops instances when their time has come, until there are none left to watch.
pub(crate) async fn watch<F: InstanceFactory>(pool: Weak<Pool<F>>, policy: Idle) {
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
