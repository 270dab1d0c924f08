use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};
use virshle_net::{NetError, grant_socket_access};
use virshle_testkit_macros::test_on;

/// A user and group that own nothing.
const NOBODY: u32 = 65534;

/// What `look` gives in a thread that is this user and nothing more.
fn as_user<T: Send>(uid: u32, look: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            set_thread_groups(&[]).unwrap();
            set_thread_gid(Gid::from_raw(uid)).unwrap();
            set_thread_uid(Uid::from_raw(uid)).unwrap();
            look()
        });
        thread.join().unwrap()
    })
}

fn can_connect(uid: u32, socket: &Path) -> bool {
    as_user(uid, || UnixStream::connect(socket).is_ok())
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test_on(Root)]
fn root_the_switchs_user_reaches_the_socket_and_nothing_else() {
    let outside = tempfile::tempdir().unwrap();
    mode(outside.path(), 0o755);
    let root = outside.path().join("virshle");
    let directory = root.join("vm/1/net");
    fs::create_dir_all(&directory).unwrap();
    let socket = directory.join("main.sock");
    let secret = root.join("vm/1/secret");
    let _listeners = [UnixListener::bind(&socket).unwrap(), UnixListener::bind(&secret).unwrap()];
    for path in [&root, &root.join("vm"), &root.join("vm/1"), &directory, &socket] {
        mode(path, 0o700);
    }
    mode(&secret, 0o600);
    assert!(!can_connect(NOBODY, &socket));

    for _ in 0..2 {
        grant_socket_access(&socket, &root, NOBODY, NOBODY).unwrap();
        assert!(can_connect(NOBODY, &socket));
    }
    assert!(!can_connect(NOBODY, &secret));
    assert!(!can_connect(1234, &socket));
    assert!(!as_user(NOBODY, || fs::read_dir(&root).is_ok()));
    assert!(!as_user(NOBODY, || fs::write(directory.join("new"), "").is_ok()));
}

#[test_on(Root)]
fn root_a_user_who_has_access_is_given_no_list() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("main.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    mode(directory.path(), 0o711);
    mode(&socket, 0o666);
    grant_socket_access(&socket, directory.path(), NOBODY, NOBODY).unwrap();
    let mut room = [0; 64];
    let list = rustix::fs::getxattr(&socket, "system.posix_acl_access", &mut room[..]);
    assert_eq!(list, Err(rustix::io::Errno::NODATA));
}

#[test]
fn only_sockets_below_the_root_are_granted_and_no_link_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    fs::create_dir_all(root.join("vm")).unwrap();
    let socket = directory.path().join("elsewhere.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    fs::write(root.join("file"), "").unwrap();
    symlink(&socket, root.join("link.sock")).unwrap();
    symlink(directory.path(), root.join("vm/link")).unwrap();
    let inside = root.join("vm/../../elsewhere.sock");
    for path in [
        socket.as_path(),
        &root,
        &inside,
        &root.join("file"),
        &root.join("link.sock"),
        &root.join("vm/link/elsewhere.sock"),
        &root.join("absent.sock"),
    ] {
        let error = grant_socket_access(path, &root, NOBODY, NOBODY).unwrap_err();
        assert!(matches!(error, NetError::GrantAccess { .. }), "{}", path.display());
    }
    grant_socket_access(&socket, &root, 0, 0).unwrap();
}
