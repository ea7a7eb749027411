//! [`Resources`]: what the machine must have for a plugin.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text;

/// What the machine must have for the plugin. The scheduler uses it to admit calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Resources {
    /// Whether it needs a GPU.
    pub requires_gpu: bool,
    /// GPU memory that each of its instances needs, in MiB, on each of its GPUs.
    #[schemars(range(max = 16_777_216))]
    pub min_gpu_vram_mb: Option<u64>,
    /// How many GPUs each of its instances needs; by default 1 if it needs any.
    #[schemars(range(min = 1, max = 64))]
    pub gpus: Option<u32>,
    /// Free host memory that it needs, in MiB.
    #[schemars(range(max = 16_777_216))]
    pub min_system_ram_mb: Option<u64>,
    /// Processor slots that a call occupies, for plugins that compute. By default a host has one slot for each logical processor.
    #[schemars(range(max = 4096))]
    pub cpu_slots: Option<u32>,
    /// Operating systems on which it runs, alone or with a processor: `linux`, `darwin-arm64`. Empty means all.
    #[schemars(with = "Vec<text::Label>", length(max = 64))]
    pub platforms: Vec<String>,
    /// Accelerators that it can use.
    #[schemars(with = "Vec<text::Label>", length(max = 64))]
    pub accelerators: Vec<String>,
}

impl Resources {
    /// How many GPUs each instance needs; 0 if it needs none.
    #[must_use]
    pub fn gpus(&self) -> u32 {
        let needs_one = self.requires_gpu || self.min_gpu_vram_mb.is_some_and(|mb| mb > 0);
        self.gpus.unwrap_or(u32::from(needs_one))
    }

    /// Whether it runs on this platform, named as in `platforms`: `linux-x64`. It does if a name in `platforms` is unknown, since it
    /// may mean this platform.
    #[must_use]
    pub fn runs_on(&self, platform: &str) -> bool {
        let system = platform.split_once('-').map_or(platform, |(system, _)| system);
        let is_meant = |name: &String| name == platform || name == system || !is_platform(name);
        self.platforms.is_empty() || self.platforms.iter().any(is_meant)
    }

    /// The names in `platforms` that no platform has.
    pub fn unknown_platforms(&self) -> impl Iterator<Item = &str> {
        self.platforms.iter().map(String::as_str).filter(|name| !is_platform(name))
    }

    /// The name of this platform, as cjm-plugin-system makes it: `linux-x64`, `darwin-arm64`, `win-x64`.
    #[must_use]
    pub fn this_platform() -> String {
        let system = match std::env::consts::OS {
            "macos" => "darwin",
            "windows" => "win",
            other => other,
        };
        let processor = match std::env::consts::ARCH {
            "x86_64" => "x64",
            "aarch64" => "arm64",
            other => other,
        };
        format!("{system}-{processor}")
    }
}

/// Whether this may be the name of a platform.
fn is_platform(name: &str) -> bool {
    let (system, processor) = name.split_once('-').unwrap_or((name, "x64"));
    ["linux", "darwin", "win"].contains(&system) && ["x64", "arm64"].contains(&processor)
        || name == Resources::this_platform()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(platforms: &[&str]) -> Resources {
        Resources { platforms: platforms.iter().map(|&name| name.to_owned()).collect(), ..Resources::default() }
    }

    #[test]
    fn a_platform_is_a_system_alone_or_with_a_processor() {
        for (platforms, runs) in [
            (&[] as &[_], true),
            (&["linux"], true),
            (&["win", "linux-x64"], true),
            (&["no such thing"], true),
            (&["darwin-arm64"], false),
            (&["linux-arm64", "win", "darwin"], false),
        ] {
            assert_eq!(of(platforms).runs_on("linux-x64"), runs, "{platforms:?}");
        }
        let odd = of(&["linux", "Linux", "darwin-arm64", "linux-x86_64", "macos"]);
        assert_eq!(odd.unknown_platforms().collect::<Vec<_>>(), ["Linux", "linux-x86_64", "macos"]);
        assert!(of(&[&Resources::this_platform()]).unknown_platforms().next().is_none());
    }
}
