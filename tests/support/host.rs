//! The machine that the tests run on: directories that both the tests and the
//! server's user reach, programs run as that user, waiting, and leaving
//! nothing behind.
//!
//! PostgreSQL refuses to run as root. So when the tests do, its programs, and
//! walkeep as its `archive_command`, run as the user `postgres` that Debian's
//! package makes, or as `nobody` where there is none.

use std::{
    fs, io,
    io::Write,
    ops::Deref,
    os::unix::{
        fs::{PermissionsExt, chown, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        LazyLock, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use nix::unistd::{Pid, Uid, User};

/// Whether a test that lacks a program must fail rather than be skipped. Set
/// by `WALKEEP_REQUIRE_ALL=1`, as CI does.
pub fn require_all() -> bool {
    std::env::var_os("WALKEEP_REQUIRE_ALL").is_some_and(|value| value == "1")
}

/// Says on the terminal that a test, or a part of it, was skipped, and how to
/// have it run; panics where everything is required.
pub fn skip(what: &str, how: &str) {
    assert!(!require_all(), "{what} is required here: {how}");
    // Not `eprintln!`: that is shown for failed tests only.
    let _ = writeln!(io::stderr(), "skipped: {what} is missing; {how}");
}

/// Makes a command run as the server's user, in `/`. To be called before the
/// test sets a working directory of its own.
pub fn as_server_user(command: &mut Command) -> &mut Command {
    if let Some(user) = server_user() {
        command
            .uid(user.uid.as_raw())
            .gid(user.gid.as_raw())
            .env("HOME", HOME.path.as_path())
            .env("USER", &user.name)
            .env("LOGNAME", &user.name);
    }
    // The user may not be allowed into the tests' own working directory.
    command.current_dir("/")
}

/// Gives a file, or a directory and all in it, to the server's user.
pub fn hand_over(path: &Path) {
    let Some(user) = server_user() else { return };
    hand_over_to(path, user).unwrap_or_else(|error| panic!("chown {path:?}: {error}"));
}

/// The built `walkeep`, at a path where the server's user can execute it.
pub fn walkeep_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        // As the program itself sees its path: without links.
        let built = Path::new(env!("CARGO_BIN_EXE_walkeep")).canonicalize();
        let built = built.expect("find the walkeep binary");
        if server_user_can_execute(&built) {
            return built;
        }
        let directory = HOME.subdirectory("bin");
        let reachable = directory.join("walkeep");
        link_or_copy(&built, &reachable).expect("copy the walkeep binary");
        reachable
    })
}

/// A directory with a short path (socket names are limited to 107 bytes),
/// owned by the server's user and open to read for all. Removed when dropped.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = HOME.subdirectory(&number.to_string());
        hand_over(&path);
        TempDir { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new directory in this one, of the same owner.
    pub fn subdirectory(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        make_directory(&path);
        hand_over(&path);
        path
    }
}

impl Deref for TempDir {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What a dying process still writes here goes with HOME.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Waits until `ready`, or panics after `deadline`, naming what it waited for.
pub fn wait_until(what: &str, deadline: Duration, mut ready: impl FnMut() -> bool) {
    wait_for(what, deadline, || ready().then_some(()));
}

/// Waits until `ready` has an answer and returns it, or panics after
/// `deadline`, naming what it waited for.
pub fn wait_for<T>(what: &str, deadline: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ready() {
            return answer;
        }
        assert!(
            start.elapsed() < deadline,
            "waited {deadline:?} in vain: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the server's user reaches the file and may execute it.
pub fn server_user_can_execute(program: &Path) -> bool {
    let mut test = Command::new("/bin/sh");
    test.args(["-c", r#"test -x "$0""#]).arg(program);
    as_server_user(&mut test)
        .status()
        .expect("run /bin/sh")
        .success()
}

/// Puts a directory's tree of programs where the server's user reaches it,
/// for as long as this process lives.
pub fn reachable_copy(tree: &Path, name: &str) -> PathBuf {
    let copy = HOME.subdirectory(name);
    link_or_copy(tree, &copy).unwrap_or_else(|error| panic!("copy {tree:?}: {error}"));
    copy
}

/// The user that servers run as; none when this process's own will do.
fn server_user() -> Option<&'static User> {
    static USER: LazyLock<Option<User>> = LazyLock::new(|| {
        Uid::effective().is_root().then(|| {
            ["postgres", "nobody"]
                .into_iter()
                .find_map(|name| User::from_name(name).expect("read the user database"))
                .expect("a user 'postgres' or 'nobody'")
        })
    });
    USER.as_ref()
}

/// Where everything lives that this process makes for a test.
static HOME: LazyLock<Home> = LazyLock::new(Home::open);

struct Home {
    path: PathBuf,
    /// Ends when this process does, however it does, and cleans up then.
    _janitor: Child,
}

/// Waits for the end of its input, which comes when the test process is gone;
/// then ends whatever still works inside the directory (servers that a failed
/// test left, and what they started) and removes it.
const JANITOR: &str = r#"
cat >/dev/null
trap '' TERM HUP
for signal in QUIT KILL; do
    found=
    for process in /proc/[0-9]*; do
        case "$(readlink "$process/cwd")" in
            "$0"/*) kill -s "$signal" "${process#/proc/}" && found=yes ;;
        esac
    done
    [ -z "$found" ] || sleep 1
done
rm -rf "$0"
"#;

impl Home {
    fn open() -> Self {
        // Not $TMPDIR: on some machines its path is too long for a socket.
        let path = PathBuf::from(format!(
            "/tmp/walkeep-{}-{:04x}",
            std::process::id(),
            fastrand::u16(..)
        ));
        make_directory(&path);
        let janitor = Command::new("/bin/sh")
            .args(["-c", JANITOR])
            .arg(&path)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C at the terminal is for the tests, not for it.
            .process_group(0)
            .spawn()
            .expect("start the janitor");
        Home {
            path,
            _janitor: janitor,
        }
    }

    fn subdirectory(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        make_directory(&path);
        path
    }
}

fn make_directory(path: &Path) {
    fs::create_dir(path).unwrap_or_else(|error| panic!("create {path:?}: {error}"));
    // Whatever the umask is.
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
}

fn hand_over_to(path: &Path, user: &User) -> io::Result<()> {
    chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path)? {
            hand_over_to(&entry?.path(), user)?;
        }
    }
    Ok(())
}

/// Hard links where the file system allows: a server's programs are 60 MB.
fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(from)?.file_type();
    if kind.is_symlink() {
        symlink(fs::read_link(from)?, to)
    } else if kind.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            link_or_copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        Ok(())
    } else {
        fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop))
    }
}

/// The `pg_receivewal`s that write into this directory.
pub fn receivers(directory: &Path) -> Vec<Pid> {
    let argument = format!("--directory={}", directory.display());
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            let ours = line.split('\0').any(|word| word == argument);
            (ours && !line.contains("--parent")).then(|| Pid::from_raw(pid))
        })
        .collect()
}

/// `systemd-analyze`, where the machine has it.
pub fn systemd_analyze(arguments: &[&str]) -> Option<Output> {
    let ran = Command::new("systemd-analyze")
        .args(arguments)
        .env("SYSTEMD_COLORS", "0")
        .output();
    if ran.is_err() {
        skip("systemd-analyze", "install systemd");
    }
    ran.ok()
}
