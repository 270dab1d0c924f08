//! Removing images, and what keeps them.

use std::fs;

use virshle_image::{Dependent, ImageError};
use virshle_testkit_macros::test_on;

use crate::lab::{Lab, file, name, run};

fn users(error: &ImageError) -> &[String] {
    let ImageError::ImageInUse { users, .. } = error else { panic!("{error:?}") };
    assert_eq!(error.code(), "image-in-use");
    users
}

#[test]
fn an_image_is_kept_while_something_depends_on_it() {
    let lab = Lab::new();
    let image = lab.import(&file(&lab.path("image.raw")).name(name("base"))).unwrap();
    std::os::unix::fs::symlink(&image.path, lab.path("link")).unwrap();
    for path in [image.path.clone(), lab.path("link")] {
        let web = Dependent::new("machine web", path);
        let info = lab.cache.info(&name("base"), std::slice::from_ref(&web)).unwrap();
        assert_eq!(info.overlays, ["machine web"]);
        assert_eq!(lab.cache.list(std::slice::from_ref(&web)).unwrap().images, [info]);
        let error = lab.cache.remove(&name("base"), || Ok::<_, ImageError>(vec![web])).unwrap_err();
        assert_eq!(users(&error), ["machine web"]);
    }
    // What depends on another file is no reason.
    let other = Dependent::new("machine web", lab.path("image.raw"));
    lab.cache.remove(&name("base"), || Ok::<_, ImageError>(vec![other])).unwrap();
    assert_eq!(lab.entries(), Vec::<String>::new());
}

#[test]
fn an_image_is_kept_if_what_depends_on_it_is_unknown() {
    #[derive(Debug)]
    struct Unreadable;
    impl From<ImageError> for Unreadable {
        fn from(error: ImageError) -> Self {
            panic!("{error:?}")
        }
    }
    let lab = Lab::new();
    lab.import(&file(&lab.path("image.raw"))).unwrap();
    let Unreadable = lab.cache.remove(&name("image"), || Err(Unreadable)).unwrap_err();
    assert_eq!(lab.entries(), [".record-image.toml", "image"]);
}

#[test]
fn an_image_is_kept_while_it_is_held_and_not_held_while_it_is_removed() {
    let lab = Lab::new();
    let image = lab.import(&file(&lab.path("image.raw")).name(name("base"))).unwrap();
    let outside = lab.path("image.raw");
    let hold = || lab.cache.hold([image.path.as_path(), outside.as_path()]);
    let both = (hold().unwrap(), hold().unwrap());
    let unasked = || -> Result<Vec<Dependent>, ImageError> { panic!("a holder may add more") };
    let error = lab.cache.remove(&name("base"), unasked).unwrap_err();
    assert_eq!(users(&error), ["another process, which clones it"]);
    drop(both);
    // As a process does that removes the image.
    let remover = fs::File::open(&image.path).unwrap();
    remover.lock().unwrap();
    let error = hold().unwrap_err();
    assert!(matches!(error, ImageError::BeingRemoved { .. }), "{error:?}");
    assert_eq!(error.code(), "locked");
    drop(remover);
    lab.cache
        .remove(&name("base"), || {
            // Once the dependents are asked for, no process can add one.
            assert!(hold().is_err());
            Ok::<_, ImageError>(Vec::new())
        })
        .unwrap();
}

#[test_on(QemuImg)]
fn an_image_is_kept_while_another_image_depends_on_it() {
    let lab = Lab::new();
    lab.import(&file(&lab.path("image.raw")).name(name("base"))).unwrap();
    let top = lab.cache.path(&name("top"));
    run(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", top.to_str().unwrap()],
    );
    assert_eq!(lab.cache.info(&name("base"), &[]).unwrap().overlays, ["image top"]);
    assert_eq!(users(&lab.remove("base").unwrap_err()), ["image top"]);
    lab.remove("top").unwrap();
    lab.remove("base").unwrap();
}

#[test]
fn a_link_in_the_place_of_an_interrupted_import_is_not_followed() {
    let lab = Lab::new();
    let outside = lab.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir_all(lab.cache.directory()).unwrap();
    std::os::unix::fs::symlink(&outside, lab.cache.directory().join(".import-a")).unwrap();
    let error = lab.import(&file(&lab.path("image.raw")).name(name("a"))).unwrap_err();
    assert!(matches!(error, ImageError::Write { .. }), "{error:?}");
    assert!(matches!(lab.remove("a").unwrap_err(), ImageError::Write { .. }));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}
