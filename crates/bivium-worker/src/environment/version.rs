//! Versions of Python: an interpreter's version, and the versions that a plugin supports (`requires_python`, PEP 440).

use std::fmt;
use std::str::FromStr;

use bivium_interface::PluginError;
use pep440_rs::VersionSpecifiers;

use crate::manifest::PythonManifest;

/// The oldest Python that the worker runs on.
const OLDEST: Version = Version(3, 9, 0);

/// The major, minor and micro version of an interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u32, pub(super) u32, pub(super) u32);

impl FromStr for Version {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.').map(|part| part.parse().map_err(drop));
        let mut part = || parts.next().unwrap_or(Err(()));
        let version = Self(part()?, part()?, part()?);
        parts.next().map_or(Ok(version), |_| Err(()))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The versions that a plugin supports.
pub(super) struct Wanted {
    specifiers: VersionSpecifiers,
    text: Option<String>,
}

impl Wanted {
    /// What the manifest asks for.
    ///
    /// # Errors
    /// `invalid-manifest` if it is not a PEP 440 specifier.
    pub(super) fn of(manifest: &PythonManifest) -> Result<Self, PluginError> {
        let text = manifest.python.requires_python.clone();
        let specifiers = text.as_deref().unwrap_or_default().parse::<VersionSpecifiers>().map_err(|error| {
            let said = error.to_string();
            let first = said.lines().next().unwrap_or_default().trim_end_matches(':');
            PluginError::invalid_manifest(format!("requires_python of {}: {first}", manifest.path.display()))
                .with_help("write a PEP 440 specifier, for example \">=3.9,<3.14\"")
        })?;
        Ok(Self { specifiers, text })
    }

    pub(super) fn takes(&self, version: Version) -> bool {
        let Version(major, minor, micro) = version;
        let release = pep440_rs::Version::new([major, minor, micro].map(u64::from));
        version >= OLDEST && self.specifiers.contains(&release)
    }
}

/// The versions as text, to follow "must be Python": `3.9 or newer and ">=3.10"`.
impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} or newer", OLDEST.0, OLDEST.1)?;
        self.text.as_deref().map_or(Ok(()), |text| write!(f, " and {text:?} (requires_python)"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::manifest;
    use super::*;

    fn wanted(text: &str) -> Result<Wanted, PluginError> {
        let mut manifest = manifest();
        manifest.python_mut().requires_python = Some(text.into());
        Wanted::of(&manifest)
    }

    #[test]
    fn accepts_pep_440_specifiers_and_nothing_older_than_the_worker() {
        let three_eleven = Version(3, 11, 7);
        for text in [">=3.9", "~=3.9", "==3.11.*", ">=3.9, <3.12", "!=3.11.6", "==3.11.7", "<=3.11.7"] {
            assert!(wanted(text).unwrap().takes(three_eleven), "{text}");
        }
        for text in [">=3.12", "<3.11", "~=3.10.0", "==3.11", "!=3.11.*", ">=3.9,<3.11"] {
            assert!(!wanted(text).unwrap().takes(three_eleven), "{text}");
        }
        assert!(!wanted(">=3.6").unwrap().takes(Version(3, 8, 19)));
        assert!(Wanted::of(&manifest()).unwrap().takes(Version(3, 9, 0)));
    }

    #[test]
    fn refuses_invalid_specifiers() {
        for text in ["3.9", ">>3", ">=3.9;", "~=3", ">=3.*"] {
            let error = wanted(text).map(|_| text).unwrap_err();
            assert_eq!(error.code().as_str(), "invalid-manifest");
            assert!(error.message().starts_with("requires_python of /plugins/p.json: "), "{error}");
        }
    }

    #[test]
    fn reads_versions() {
        assert_eq!("3.11.7".parse(), Ok(Version(3, 11, 7)));
        for text in ["", "3.11", "3.11.7.1", "3.11.x", "-3.1.1"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
