//! How much a plugin may use. A manifest asks for limits; the host's policy decides ([`HostPolicy`](crate::HostPolicy)).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! limits {
    ($($(#[$meta:meta])* $name:ident,)*) => {
        /// How much the plugin may use. A missing limit has the host's default.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        #[non_exhaustive]
        pub struct Limits {
            $($(#[$meta])* #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<u64>,)*
        }

        impl Limits {
            /// The keys as errors write them, in the order of [`each`](Self::each).
            pub(crate) const KEYS: &[&'static str] = &[$(concat!("limits.", stringify!($name))),*];

            /// Every limit with its key in a manifest.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, Option<u64>)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }

            pub(crate) fn each_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Option<u64>)> {
                [$((stringify!($name), &mut self.$name)),*].into_iter()
            }
        }
    };
}

limits! {
    /// Memory of one instance, in MiB.
    #[schemars(range(min = 1, max = 16_777_216))]
    memory_mb,
    /// Elements of one table of a component.
    #[schemars(range(min = 1, max = 10_000_000), extend("x-runtime" = "wasm"))]
    table_elements,
    /// Core instances within one instance of a component.
    #[schemars(range(min = 1, max = 10_000), extend("x-runtime" = "wasm"))]
    core_instances,
    /// Linear memories within one instance of a component.
    #[schemars(range(min = 1, max = 10_000), extend("x-runtime" = "wasm"))]
    memories,
    /// Tables within one instance of a component.
    #[schemars(range(min = 1, max = 10_000), extend("x-runtime" = "wasm"))]
    tables,
    /// The stack of a component's functions, in KiB. It is rounded up to 512, 1024, 2048 and so on.
    #[schemars(range(min = 512, max = 65_536), extend("x-runtime" = "wasm"))]
    stack_kb,
    /// Wall-clock time of one call, in milliseconds. Pauses of the reader between the results of a stream do not count.
    #[schemars(range(min = 1, max = 2_592_000_000_u64))]
    call_ms,
    /// Processor time of one call, in milliseconds.
    #[schemars(range(min = 1, max = 2_592_000_000_u64), extend("x-runtime" = "wasm"))]
    cpu_ms,
    /// Fuel of one call of a component. If it is missing, fuel is not counted.
    #[schemars(range(min = 1), extend("x-runtime" = "wasm"))]
    fuel,
    /// Size of a component's file, in MiB.
    #[schemars(range(min = 1, max = 4096), extend("x-runtime" = "wasm"))]
    component_mb,
    /// Seconds that compiling a component may take.
    #[schemars(range(min = 1, max = 86_400), extend("x-runtime" = "wasm"))]
    compile_s,
    /// JSON of one payload, in MiB.
    #[schemars(range(min = 1, max = 4096))]
    payload_mb,
    /// How much one call may write into blobs and files, in MiB.
    #[schemars(range(min = 1, max = 16_777_216))]
    blob_mb,
    /// Blobs, writers and streams that an instance of a component may have at once.
    #[schemars(range(min = 1, max = 1_000_000), extend("x-runtime" = "wasm"))]
    blobs,
    /// Files and directories that an instance may have open at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    files,
    /// Network connections that an instance may have open at once.
    #[schemars(range(min = 1, max = 1_000_000), extend("x-runtime" = "wasm"))]
    connections,
    /// The body of one response that a component receives over HTTP, in MiB.
    #[schemars(range(min = 1, max = 1_048_576), extend("x-runtime" = "wasm"))]
    response_mb,
    /// Log records of one instance per second. Further records are counted and dropped.
    #[schemars(range(min = 1, max = 1_000_000))]
    log_records,
    /// Processes and threads of a worker.
    #[schemars(range(min = 1, max = 1_000_000), extend("x-runtime" = "python"))]
    processes,
    /// Size of the cache on disk of a worker's libraries (models, compiled kernels), in MiB.
    #[schemars(range(min = 1, max = 16_777_216), extend("x-runtime" = "python"))]
    cache_mb,
    /// Calls that may wait for the plugin at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    queue,
}

impl Limits {
    /// Each limit with the smaller of the two values. A limit that only one of them sets has that value.
    #[must_use]
    pub fn tightest(mut self, other: &Self) -> Self {
        for ((_, limit), (_, other)) in self.each_mut().zip(other.each()) {
            *limit = match (*limit, other) {
                (Some(limit), Some(other)) => Some(limit.min(other)),
                (limit, other) => limit.or(other),
            };
        }
        self
    }

    /// Each limit that is not set gets the value of `defaults`.
    #[must_use]
    pub fn or(mut self, defaults: &Self) -> Self {
        for ((_, own), (_, default)) in self.each_mut().zip(defaults.each()) {
            *own = own.or(default);
        }
        self
    }
}
