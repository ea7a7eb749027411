//! Checks which requirements may be passed to an installer: those that [`requirement_fault`] accepts, and for a confined plugin only
//! those for which nothing is built.

use bivium_interface::manifest::requirement_fault;
use bivium_interface::{PluginError, Problem};

use crate::manifest::PythonManifest;

const BUILT: &str = "would have to be built, which runs its author's code";
/// The help for a confined plugin whose packages have no wheels.
pub(super) const WHEELS: &str = "name a version that has a wheel for this machine, or the URL of a wheel (.whl); or make an environment \
    yourself and name its interpreter as `python_path`; or trust the plugin: a manifest without `permissions`, under a policy without \
    `confine`";

/// Checks all of a manifest's requirements. With `wheels_only`, requirements that would have to be built are refused as well: installers
/// build a package from a URL whatever their other options are.
///
/// # Errors
/// `invalid-manifest` with one problem for each that is refused; `denied` if they are refused because nothing may be built.
pub(super) fn check(manifest: &PythonManifest, requirements: &[String], wheels_only: bool) -> Result<(), PluginError> {
    let problems = |fault: &dyn Fn(&str) -> Option<String>| -> Vec<Problem> {
        let problem = |(n, text): (usize, &String)| {
            Some(Problem::new(format!("requirements[{n}]"), format!("{:?} {}", shortened(text), fault(text)?)))
        };
        requirements.iter().enumerate().filter_map(problem).collect()
    };
    let built =
        |text: &str| (wheels_only && requirement_fault(text).is_none() && !is_wheel(text)).then(|| BUILT.to_owned());
    let (malformed, built) = (problems(&requirement_fault), problems(&built));
    let path = manifest.path.display();
    let error = match (malformed.is_empty(), built.is_empty()) {
        (true, true) => return Ok(()),
        (true, false) => PluginError::denied(format!("{path} has requirements that a confined plugin may not have"))
            .with_help(WHEELS),
        (false, _) => {
            PluginError::invalid_manifest(format!("{path} has requirements that are not passed to an installer"))
                .with_help("write them as PEP 508 says, for example \"numpy>=2\" or \"name @ https://…/name-1.0.whl\"")
        }
    };
    Err(error.with_problems(malformed.into_iter().chain(built).collect()))
}

/// Whether installing this one builds nothing, if the index gives only wheels.
fn is_wheel(requirement: &str) -> bool {
    requirement.split_once('@').is_none_or(|(_, url)| {
        let url = url.split_once(" ;").map_or(url, |(url, _)| url).trim();
        url.split(['#', '?']).next().is_some_and(|path| path.ends_with(".whl"))
    })
}

fn shortened(text: &str) -> &str {
    bivium_interface::head(text, 80)
}

#[cfg(test)]
mod tests {
    use bivium_interface::ErrorCode;

    use super::super::tests::manifest;
    use super::*;

    #[test]
    fn names_each_one_that_is_refused() {
        let error = check(&manifest(), &["a".into(), "-e .".into(), "b @ file:///b".into()], false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/plugins/p.json has requirements that are not passed to an installer: requirements[1]: \"-e .\" is an option of \
             an installer; requirements[2]: \"b @ file:///b\" is neither from an index nor from an https URL; write \
             them as PEP 508 says, for example \"numpy>=2\" or \"name @ https://…/name-1.0.whl\""
        );
    }

    #[test]
    fn names_each_one_that_would_have_to_be_built() {
        let requirements: Vec<String> =
            ["a @ git+https://e.example/a", "b", "c @ https://e.example/c.tar.gz", "d @ https://e.example/d-1.whl#x"]
                .map(str::to_owned)
                .to_vec();
        check(&manifest(), &requirements, false).unwrap();
        let error = check(&manifest(), &requirements, true).unwrap_err();
        let told: Vec<&str> = error.problems().iter().map(|problem| problem.location.as_str()).collect();
        assert_eq!((error.code(), told), (ErrorCode::Denied, vec!["requirements[0]", "requirements[2]"]));
        for cure in ["a wheel", "`python_path`", "trust the plugin"] {
            assert!(error.help().is_some_and(|help| help.contains(cure)), "{error}");
        }
        // Reported together with malformed ones.
        let error = check(&manifest(), &[requirements[0].clone(), "-e .".into()], true).unwrap_err();
        assert_eq!((error.code(), error.problems().len()), (ErrorCode::InvalidManifest, 2));
    }
}
