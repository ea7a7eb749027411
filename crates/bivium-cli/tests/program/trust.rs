//! Files in `./.bivium/manifests` and `~/.bivium/manifests` are read only if no stranger can have put them there.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::executable::write_executable;
use crate::place::{Place, Ran};
use crate::skipped::skipped;

const STRANGER: u32 = 54321;
const ME: u32 = 12345;

/// A project with its own plugins, and a home directory.
struct Project {
    place: Place,
    user: u32,
    program: fs::File,
}

/// Paths that, if a stranger owns or can write them, keep these plugins of the project from being used.
const PARTS: &[(&str, &[&str])] = &[
    ("work", &["comp", "py", "interp"]),
    ("work/.bivium", &["comp", "py", "interp"]),
    ("work/.bivium/manifests", &["comp", "py", "interp"]),
    ("work/.bivium/manifests/comp.json", &["comp"]),
    ("work/.bivium/manifests/py", &["py"]),
    ("work/.bivium/manifests/py/py.json", &["py"]),
    ("work/.bivium/manifests/interp.json", &["interp"]),
    ("work/lib", &["comp", "py"]),
    ("work/lib/comp.wasm", &["comp"]),
    ("work/lib/src", &["py"]),
    ("work/lib/src/package", &["py"]),
    ("work/lib/src/package/__init__.py", &["py"]),
    ("work/lib/src/package/deep/mod.py", &["py"]),
    ("work/lib/src/beside.py", &["py"]),
    ("work/venv", &["interp"]),
    ("work/venv/pyvenv.cfg", &["interp"]),
    ("work/venv/lib/python3.99/site-packages", &["interp"]),
    ("work/venv/lib/python3.99/site-packages/every.pth", &["interp"]),
    ("work/venv/lib/python3.99/site-packages/package", &["interp"]),
    ("work/venv/bin/python", &["interp"]),
];

impl Project {
    /// `None` if the user is not root: then no file can be given to another user.
    fn of(user: u32) -> Option<Self> {
        if !rustix_is_root() {
            skipped("only root can give files to others");
            return None;
        }
        let place = Place::new();
        for dir in ["py", ""] {
            fs::create_dir_all(place.path("work/.bivium/manifests").join(dir)).unwrap();
        }
        let packages = "work/venv/lib/python3.99/site-packages/package";
        for dir in ["work/lib/src/package/deep", "work/venv/bin", packages, "home"] {
            fs::create_dir_all(place.path(dir)).unwrap();
        }
        let ran = place.path("tmp/ran");
        let module = format!("open({ran:?}, 'w')\nclass Py:\n    def execute(self): return 'mine'\n");
        place.write("work/lib/comp.wasm", "none");
        place.write("work/lib/src/package/__init__.py", &module);
        place.write("work/lib/src/package/deep/mod.py", "");
        place.write("work/lib/src/beside.py", "");
        place.write("work/venv/pyvenv.cfg", "");
        place.write("work/venv/lib/python3.99/site-packages/every.pth", "");
        write_executable(&place.path("work/venv/bin/python"), &format!("#!/bin/sh\ntouch {}\n", ran.display()));
        let program = fs::File::open(env!("CARGO_BIN_EXE_bivium")).unwrap();
        let project = Self { place, user, program };
        project.manifest("work/.bivium/manifests/comp.json", "comp", json!({"component": "../../lib/comp.wasm"}));
        let class = json!({"module": "package", "class": "Py", "source": "../../../lib/src"});
        project.manifest("work/.bivium/manifests/py/py.json", "py", class);
        let python = json!({"module": "x", "class": "X", "python_path": "../../venv/bin/python"});
        project.manifest("work/.bivium/manifests/interp.json", "interp", python);
        project.give(&project.place.path(""));
        Some(project)
    }

    fn manifest(&self, path: &str, name: &str, more: Value) {
        let mut manifest = json!({"name": name, "version": "1"});
        manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.place.write(path, &manifest.to_string());
    }

    /// Makes the user the owner of all files.
    fn give(&self, path: &Path) {
        chown(path, Some(self.user), Some(self.user)).unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o755)).unwrap();
        if path.is_dir() {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
            fs::read_dir(path).unwrap().for_each(|entry| self.give(&entry.unwrap().path()));
        }
    }

    fn own(&self, name: &str, user: u32) {
        chown(self.place.path(name), Some(user), Some(user)).unwrap();
    }

    fn set_mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.place.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(&self, name: &str) -> u32 {
        self.place.path(name).metadata().unwrap().permissions().mode() & 0o7777
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.place.command_of(&self.program(), args);
        command.current_dir(self.place.path("work")).env("HOME", self.place.path("home"));
        command.env_remove("BIVIUM_MANIFESTS").env_remove("SUDO_UID").env_remove("SUDO_GID");
        if self.user != 0 {
            command.uid(self.user).gid(self.user);
        }
        command
    }

    /// Started by its descriptor, because the user may have no access to the directory where it was built.
    fn program(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.program.as_raw_fd()))
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.place.ran(self.command(args).output().unwrap())
    }

    /// The plugins that are found.
    fn found(&self) -> Vec<String> {
        names(&self.run(&["list", "--output=json"]))
    }

    /// Checks that no code of the project has run.
    #[track_caller]
    fn assert_unused(&self) {
        assert!(!self.place.path("tmp/ran").exists());
    }

    #[track_caller]
    fn assert_refused(&self, part: &str, plugins: &[&str], why: &str) {
        let ran = self.run(&["list", "--output=json"]);
        let left: Vec<&str> = ["comp", "interp", "py"].into_iter().filter(|name| !plugins.contains(name)).collect();
        assert_eq!(names(&ran), left, "{part} {why}: {}", ran.all());
        let problems = ran.json()["problems"].to_string();
        assert!(problems.contains(why) && problems.contains("\"denied\""), "{part} {why}: {problems}");
        let shown = format!("[DIR]/{part} {why}");
        assert!(problems.contains(&shown), "{part} {why}: {problems}");
        for plugin in plugins {
            for args in
                [&["run", plugin] as &[_], &["info", plugin], &["info", plugin, "--load"], &["config", "get", plugin]]
            {
                let ran = self.run(args);
                assert!([3, 5].contains(&ran.status), "{part} {args:?}: {}", ran.all());
                assert!(
                    ran.stderr.contains(why) && ran.stderr.contains("--manifests"),
                    "{part} {args:?}: {}",
                    ran.all()
                );
            }
        }
        self.assert_unused();
    }
}

fn names(ran: &Ran) -> Vec<String> {
    let list = ran.assert_status(0).json();
    list["plugins"].as_array().unwrap().iter().map(|plugin| plugin["name"].as_str().unwrap().to_owned()).collect()
}

fn rustix_is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

#[test]
fn what_belongs_to_a_stranger_is_not_read() {
    for user in [0, ME] {
        let Some(project) = Project::of(user) else { return };
        assert_eq!(project.found(), ["comp", "interp", "py"]);
        for (part, plugins) in PARTS {
            project.own(part, STRANGER);
            project.assert_refused(part, plugins, &format!("belongs to another user ({STRANGER})"));
            project.own(part, user);
        }
        // Files of root are as trusted as the user's own.
        for (part, _) in PARTS {
            project.own(part, 0);
        }
        assert_eq!(project.found(), ["comp", "interp", "py"]);
    }
}

#[test]
fn what_a_stranger_can_write_to_is_not_read() {
    for user in [0, ME] {
        let Some(project) = Project::of(user) else { return };
        for (part, plugins) in PARTS {
            let mode = project.mode(part);
            project.set_mode(part, mode | 0o002);
            project.assert_refused(part, plugins, "can be written by everybody");
            project.set_mode(part, mode | 0o020);
            chown(project.place.path(part), None, Some(STRANGER)).unwrap();
            let why = format!("can be written by a group that is not your own ({STRANGER})");
            project.assert_refused(part, plugins, &why);
            chown(project.place.path(part), None, Some(user)).unwrap();
            assert_eq!(project.found(), ["comp", "interp", "py"], "{part} can be written by one's own group");
            project.set_mode(part, mode);
        }
    }
}

#[test]
fn access_control_lists_are_checked_too() {
    let Some(project) = Project::of(0) else { return };
    // Version 2; then the owner, a user, the group, the mask and others, each with tag, permissions and id.
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, may, id) in
        [(1_u16, 7_u16, u32::MAX), (2, 7, STRANGER), (4, 5, u32::MAX), (16, 7, u32::MAX), (32, 5, u32::MAX)]
    {
        list.extend([tag.to_le_bytes(), may.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    let part = "work/.bivium/manifests";
    let script = "import os, sys; os.setxattr(sys.argv[1], 'system.posix_acl_access', bytes.fromhex(sys.argv[2]))";
    let hex: String = list.iter().map(|byte| format!("{byte:02x}")).collect();
    let set = Command::new("python3").args(["-c", script]).arg(project.place.path(part)).arg(hex).status().unwrap();
    if !set.success() {
        skipped("there are no access control lists here");
        return;
    }
    project.assert_refused(part, &["comp", "py", "interp"], "has an access control list");
}

#[test]
fn a_directory_with_a_sticky_bit_above_is_no_danger() {
    let Some(project) = Project::of(ME) else { return };
    project.own("work", 0);
    project.set_mode("work", 0o1777);
    assert_eq!(project.found(), ["comp", "interp", "py"]);
    // Others can add files to it, so files in it must belong to the user.
    for part in ["work/.bivium/manifests", "work/lib/src"] {
        let mode = project.mode(part);
        project.set_mode(part, 0o1777);
        let plugins: &[&str] = if part.ends_with("src") { &["py"] } else { &["comp", "py", "interp"] };
        project.assert_refused(part, plugins, "can be written by everybody");
        project.set_mode(part, mode);
    }
}

#[test]
fn the_owners_of_a_link_and_of_its_target_are_checked() {
    let Some(project) = Project::of(ME) else { return };
    let path = |name: &str| project.place.path(name);
    fs::create_dir(path("theirs")).unwrap();
    fs::rename(path("work/.bivium/manifests/comp.json"), path("theirs/comp.json")).unwrap();
    symlink(path("theirs/comp.json"), path("work/.bivium/manifests/comp.json")).unwrap();
    project.manifest("theirs/comp.json", "comp", json!({"component": path("work/lib/comp.wasm")}));
    assert_eq!(project.found(), ["comp", "interp", "py"]);
    project.own("theirs", STRANGER);
    project.assert_refused("theirs", &["comp"], "belongs to another user");
    project.own("theirs", ME);
    let link = path("work/.bivium/manifests/comp.json");
    std::os::unix::fs::lchown(&link, Some(STRANGER), None).unwrap();
    project.assert_refused("work/.bivium/manifests/comp.json", &["comp"], "belongs to another user");
    std::os::unix::fs::lchown(&link, Some(ME), None).unwrap();
    // Links in a source are checked too.
    symlink("/etc/hostname", path("work/lib/src/data")).unwrap();
    assert_eq!(project.found(), ["comp", "interp", "py"]);
    fs::write(path("theirs/code.py"), "").unwrap();
    project.own("theirs/code.py", STRANGER);
    symlink(path("theirs/code.py"), path("work/lib/src/code.py")).unwrap();
    project.assert_refused("theirs/code.py", &["py"], "belongs to another user");
}

#[test]
fn a_package_behind_a_link_is_checked() {
    let Some(project) = Project::of(ME) else { return };
    let path = |name: &str| project.place.path(name);
    fs::create_dir_all(path("elsewhere/inner")).unwrap();
    project.place.write("elsewhere/inner/mod.py", "");
    project.give(&path("elsewhere"));
    symlink(path("elsewhere"), path("work/lib/src/linked")).unwrap();
    // A circle of links.
    symlink("..", path("elsewhere/inner/up")).unwrap();
    assert_eq!(project.found(), ["comp", "interp", "py"]);
    for part in ["elsewhere/inner/mod.py", "elsewhere/inner", "elsewhere"] {
        let mode = project.mode(part);
        project.set_mode(part, mode | 0o002);
        project.assert_refused(part, &["py"], "can be written by everybody");
        project.set_mode(part, mode);
    }
}

/// Serves an empty directory that claims to belong to any given user, until it is stopped. Signals when it is ready.
const SERVER: &str = r#"
import ctypes, os, struct, sys
path, owner, server = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
fd = os.open("/dev/fuse", os.O_RDWR)
options = "fd=%d,rootmode=40000,user_id=%d,group_id=%d,allow_other" % (fd, server, server)
if ctypes.CDLL(None, use_errno=True).mount(b"evil", path.encode(), b"fuse", 0, options.encode()):
    sys.exit(7)
print(flush=True)
while True:
    request = os.read(fd, 1 << 17)
    _, opcode, unique = struct.unpack_from("<IIQ", request)
    attributes = struct.pack("<6Q10I", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, owner, owner, 0, 4096, 0)
    answers = {
        26: struct.pack("<4I2H2I", 7, 31, 1 << 16, 0, 16, 12, 1 << 16, 1) + bytes(36),
        3: struct.pack("<QII", 0, 0, 0) + attributes,
        17: bytes(80),
    }
    if opcode in (2, 36, 42):  # nothing is to be said to these
        continue
    answer = answers.get(opcode, b"")
    # Nothing is found; all else is not known.
    error = 0 if answer else -2 if opcode == 1 else -38
    os.write(fd, struct.pack("<IiQ", 16 + len(answer), error, unique) + answer)
"#;

#[test]
fn a_file_system_that_a_stranger_serves_is_not_read_whatever_it_says() {
    use std::io::{BufRead as _, BufReader};
    let Some(project) = Project::of(0) else { return };
    let mount = project.place.path("work/.bivium");
    for (server, why) in
        [(STRANGER, Some(format!("lies in a file system that another user serves ({STRANGER})"))), (0, None)]
    {
        let mut command = Command::new("python3");
        command.args(["-c", SERVER]).arg(&mount).args(["0", &server.to_string()]);
        let mut serving =
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(serving.stdout.take().unwrap()).read_line(&mut said).unwrap();
        if said.is_empty() {
            serving.wait().unwrap();
            skipped("no file system can be served here");
            return;
        }
        let ran = project.run(&["list", "--output=json"]);
        serving.kill().unwrap();
        serving.wait().unwrap();
        assert!(Command::new("umount").arg("-l").arg(&mount).status().unwrap().success());
        let problems = ran.json()["problems"].to_string();
        match why {
            Some(why) => assert!(problems.contains(&why), "{}", ran.all()),
            // There is no such file.
            None => assert_eq!(problems, "[]", "{}", ran.all()),
        }
    }
    assert_eq!(project.found(), ["comp", "interp", "py"]);
}

#[test]
fn files_named_on_purpose_are_trusted() {
    let Some(project) = Project::of(ME) else { return };
    project.own("work/.bivium", STRANGER);
    project.assert_refused("work/.bivium", &["comp", "py", "interp"], "belongs to another user");
    let named = |command: &mut Command| names(&project.place.ran(command.output().unwrap()));
    let list = ["list", "--output=json"];
    let all = ["comp", "interp", "py"];
    assert_eq!(named(project.command(&list).args(["--manifests", ".bivium/manifests"])), all);
    assert_eq!(named(project.command(&list).env("BIVIUM_MANIFESTS", ".bivium/manifests")), all);
    let path = ".bivium/manifests/py/py.json";
    let ran = project.run(&["run", path]);
    assert_eq!((ran.assert_status(0).json(), ran.stderr.as_str()), (json!("mine"), ""));
    fs::remove_file(project.place.path("tmp/ran")).unwrap();
}

#[test]
fn under_sudo_the_caller_is_trusted_and_only_then() {
    let Some(project) = Project::of(0) else { return };
    project.own("work/.bivium/manifests", STRANGER);
    project.set_mode("work/.bivium/manifests", 0o775);
    let as_sudo = |project: &Project, uid: u32| {
        let id = uid.to_string();
        let list = project.command(&["list", "--output=json"]).env("SUDO_UID", &id).env("SUDO_GID", &id).output();
        names(&project.place.ran(list.unwrap()))
    };
    assert_eq!(as_sudo(&project, STRANGER), ["comp", "interp", "py"]);
    assert_eq!(as_sudo(&project, ME), [""; 0]);
    let project = Project::of(ME).unwrap();
    project.own("work/.bivium/manifests", STRANGER);
    assert_eq!(as_sudo(&project, STRANGER), [""; 0], "anybody can set a variable");
}

#[test]
fn a_plugin_of_the_directory_that_replaces_the_users_own_is_reported() {
    let Some(project) = Project::of(0) else { return };
    let path = |name: &str| -> PathBuf { project.place.path(name) };
    fs::create_dir_all(path("home/.bivium/manifests")).unwrap();
    let module = "class Own:\n    def execute(self): return 'own'\n";
    project.place.write("home/own.py", module);
    let own = json!({"module": "own", "class": "Own", "source": "../.."});
    project.manifest("home/.bivium/manifests/py.json", "py", own.clone());
    project.manifest("home/.bivium/manifests/other.json", "other", own);
    let told = "bivium: warning: py: [DIR]/work/.bivium/manifests/py/py.json is used, and your own \
    [DIR]/home/.bivium/manifests/py.json is ignored\n";
    for args in [&["run", "py"] as &[_], &["info", "py", "--no-load"], &["list"]] {
        assert_eq!(project.run(args).assert_status(0).stderr, told, "{args:?}");
    }
    assert_eq!(project.run(&["run", "py"]).json(), "mine");
    let ran = project.run(&["run", "other"]);
    assert_eq!((ran.json(), ran.stderr.as_str()), (json!("own"), ""), "it shadows nothing");
    let json = project.run(&["list", "--output=json"]).json();
    assert_eq!(json["shadowed"][0]["name"], "py");
    let ran = project.run(&["run", "py", "--output=json"]);
    assert!(ran.assert_status(0).stderr.contains("is ignored"), "{}", ran.all());
    fs::remove_file(path("tmp/ran")).unwrap();

    // A stranger's plugin does not replace it.
    project.own("work/.bivium/manifests/py/py.json", STRANGER);
    let ran = project.run(&["run", "py"]);
    assert_eq!(ran.assert_status(0).json(), "own");
    assert!(
        ran.stderr.contains("py.json is not read: ") && ran.stderr.contains("belongs to another user"),
        "{}",
        ran.all()
    );
    project.assert_unused();
}

#[test]
fn the_sentence_names_the_path_the_reason_and_the_cure() {
    let Some(project) = Project::of(ME) else { return };
    project.own("work/.bivium", STRANGER);
    // The file is not even parsed.
    project.place.write("work/.bivium/manifests/py/py.json", "{");
    insta::assert_snapshot!(project.run(&["list"]).all(), @"
    0
    --- stdout
    --- stderr
    bivium: warning: .bivium/manifests is not read: [DIR]/work/.bivium belongs to another user (54321); if you trust it, name its directory with `--manifests`, BIVIUM_MANIFESTS or `ManagerBuilder::manifests`
    There is no plugin in .bivium/manifests or [DIR]/home/.bivium/manifests.
    ");
    insta::assert_snapshot!(project.run(&["run", "py"]).all(), @r#"
    3
    --- stdout
    --- stderr
    bivium: warning: .bivium/manifests is not read: [DIR]/work/.bivium belongs to another user (54321); if you trust it, name its directory with `--manifests`, BIVIUM_MANIFESTS or `ManagerBuilder::manifests`
    bivium: there is no plugin "py"; there is no manifest in .bivium/manifests or [DIR]/home/.bivium/manifests; .bivium/manifests is not read: [DIR]/work/.bivium belongs to another user (54321)
    "#);
    project.own("work/.bivium", ME);
    project.own("work/.bivium/manifests/comp.json", STRANGER);
    insta::assert_snapshot!(project.run(&["run", "comp"]).all(), @"
    5
    --- stdout
    --- stderr
    bivium: comp: .bivium/manifests/comp.json is not read: [DIR]/work/.bivium/manifests/comp.json belongs to another user (54321); if you trust it, name its directory with `--manifests`, BIVIUM_MANIFESTS or `ManagerBuilder::manifests`
    ");
    insta::assert_snapshot!(project.run(&["run", "comp", "--output=json"]).all(), @r#"
    5
    --- stdout
    --- stderr
    {"code":"denied","message":".bivium/manifests/comp.json is not read: [DIR]/work/.bivium/manifests/comp.json belongs to another user (54321)","plugin":"comp","help":"if you trust it, name its directory with `--manifests`, BIVIUM_MANIFESTS or `ManagerBuilder::manifests`"}
    "#);
}
