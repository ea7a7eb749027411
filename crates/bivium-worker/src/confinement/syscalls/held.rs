//! [`Held`]: what else restricts a worker.

/// Sockets that a worker may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::confinement) enum Sockets {
    None,
    /// Unix stream sockets (`AF_UNIX`): if their paths lead to nothing outside the worker.
    Local,
    Tcp,
    TcpAndUdp,
}

/// What restricts a worker besides the filter, so that the filter can allow more.
#[derive(Debug, Clone, Copy)]
pub(in crate::confinement) struct Held {
    pub(in crate::confinement) sockets: Sockets,
    /// It has a PID namespace of its own.
    pub(in crate::confinement) processes: bool,
    /// It has an IPC namespace of its own.
    pub(in crate::confinement) ipc: bool,
    /// It has a root directory of its own.
    pub(in crate::confinement) root: bool,
    /// It uses a GPU, whose driver is used through `ioctl`.
    pub(in crate::confinement) gpu: bool,
}
