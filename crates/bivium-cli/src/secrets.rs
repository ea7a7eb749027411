//! Takes the secrets out of the program's environment.
//!
//! A variable that a process removes can still be read in its `/proc/PID/environ`, by the process itself, by its children and by
//! everybody who may read that file. So the program, before it has a second thread, writes the secrets into a sealed file in
//! memory and starts itself again without them (`exec`: the same process, arguments and open files). The second start reads the
//! file and closes it. If there are no such variables, there is no second start. A core file would hold the secrets too, so a
//! program that has secrets writes none.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use bivium::policy::SECRET_VARIABLE;
use bivium::{PluginError, Result};
use rustix::fs::{MemfdFlags, OFlags, SealFlags};
use rustix::io::{Errno, FdFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The variable that tells the second start the file's descriptor. It holds no secret.
const SECRETS_FD: &str = "BIVIUM_SECRETS_FD";
/// The first bytes of the file.
const MAGIC: &[u8] = b"bivium secrets 1\0";
/// The largest file that is read, in bytes: larger than any environment.
const LONGEST: u64 = 16 << 20;
/// The program's own file, even if another file now has its path.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Names and values of the variables.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<(OsString, OsString)>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Secrets {
    /// Takes the secrets out of the environment. Call it before anything else, because it may start the program again.
    ///
    /// # Errors
    /// `internal` if there are secrets and the program cannot be started again without them.
    pub(crate) fn take() -> Result<Self> {
        let is_secret = |name: &OsStr| name.as_bytes().starts_with(SECRET_VARIABLE.as_bytes());
        let found = Self(std::env::vars_os().filter(|(name, _)| is_secret(name)).collect());
        if found.0.is_empty() {
            return Ok(Self::passed_on().unwrap_or_default());
        }
        let error = found.start_again();
        Err(PluginError::internal(format!("cannot take the secrets out of the program's environment: {error}"))
            .with_help(format!("run it where {THIS_PROGRAM} exists, or without variables {SECRET_VARIABLE}…")))
    }

    /// The name of each secret without its prefix, and its value.
    ///
    /// # Errors
    /// `invalid-config` if one is not UTF-8. The error names it, but does not show its value.
    pub(crate) fn as_text(&self) -> Result<Vec<(&str, &str)>> {
        let text = |(name, value): &'_ (OsString, OsString)| {
            Err(PluginError::invalid_config(format!(
                "the {} of the environment variable {} is not UTF-8, which a secret must be",
                if name.to_str().is_none() { "name" } else { "value" },
                name.display()
            ))
            .with_help(if value.is_empty() {
                "unset it"
            } else {
                "encode it, for example as base64, or unset it"
            }))
        };
        self.0
            .iter()
            .map(|secret| match (secret.0.to_str(), secret.1.to_str()) {
                (Some(name), Some(value)) => Ok((name.strip_prefix(SECRET_VARIABLE).unwrap_or(name), value)),
                _ => text(secret),
            })
            .collect()
    }

    /// Returns only if it fails.
    fn start_again(&self) -> io::Error {
        let file = match self.sealed_file() {
            Ok(file) => file,
            Err(error) => return error.into(),
        };
        let mut arguments = std::env::args_os();
        let mut command = Command::new(THIS_PROGRAM);
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        for (name, _) in &self.0 {
            command.env_remove(name);
        }
        command.args(arguments).env(SECRETS_FD, file.as_raw_fd().to_string());
        match rustix::io::fcntl_setfd(&file, FdFlags::empty()) {
            Ok(()) => command.exec(),
            Err(error) => error.into(),
        }
    }

    fn sealed_file(&self) -> Result<File, Errno> {
        let sealable = MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC;
        let make = |flags| rustix::fs::memfd_create(c"bivium-secrets", flags);
        // Kernels before 6.3 do not know this flag.
        let fd = make(sealable | MemfdFlags::NOEXEC_SEAL).or_else(|_| make(sealable))?;
        let mut file = File::from(fd);
        // Without this, the second start would have the name of the link in /proc as its process name.
        let called = std::fs::read("/proc/self/comm").unwrap_or_default();
        let mut bytes = [MAGIC, called.trim_ascii_end(), b"\0"].concat();
        for (name, value) in &self.0 {
            for part in [name, value] {
                bytes.extend_from_slice(part.as_bytes());
                bytes.push(0);
            }
        }
        file.write_all(&bytes).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        rustix::fs::fcntl_add_seals(&file, seals())?;
        Ok(file)
    }

    /// Reads the secrets that the first start has passed on. If the descriptor is not such a file, it is left open: then the variable was
    /// inherited from another program.
    fn passed_on() -> Option<Self> {
        let fd: RawFd = std::env::var_os(SECRETS_FD)?.to_str()?.parse().ok().filter(|fd| *fd > 2)?;
        // It may be anything, so it is opened again for this check, in a way that cannot block.
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
        let mut file = OpenOptions::new().read(true).custom_flags(flags).open(format!("/proc/self/fd/{fd}")).ok()?;
        if !rustix::fs::fcntl_get_seals(&file).is_ok_and(|sealed| sealed.contains(seals())) {
            return None;
        }
        let mut bytes = Vec::new();
        (&mut file).take(LONGEST).read_to_end(&mut bytes).ok()?;
        let rest = bytes.strip_prefix(MAGIC)?;
        // SAFETY: the descriptor is open, because opening it again succeeded. The first start passed it on for this, and nothing else
        // owns it: the program does nothing before this.
        #[expect(unsafe_code, reason = "there is no other way to close a descriptor that was inherited")]
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
        let mut parts = rest.split(|byte| *byte == 0);
        if let Ok(called) = CString::new(parts.next()?) {
            // Only for people who look at lists of processes.
            let _ = rustix::thread::set_name(&called);
        }
        let mut secrets = Vec::new();
        while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            secrets.push((OsString::from_vec(name.to_owned()), OsString::from_vec(value.to_owned())));
        }
        leave_no_core();
        Some(Self(secrets))
    }
}

/// Disables core dumps, both to a file and to a program that the machine's `core_pattern` names: the kernel runs that program for any
/// limit except 1.
fn leave_no_core() {
    let maximum = getrlimit(Resource::Core).maximum;
    // A debugger can raise the limit again. An error means that it is 0 and stays so.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(1), maximum });
}

fn seals() -> SealFlags {
    SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE
}
