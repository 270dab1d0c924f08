//! The image cache of a node: images by name, and what machines keep in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use virshle_core::{
    CoreError, CreateRequest, DefinitionError, ErrorKind, Force, ImageError, ImageInfo, ImageName,
    ImportRequest, ImportSource,
};

use crate::lab::{DISK, LEAST, Lab};

fn name(text: &str) -> ImageName {
    text.parse().unwrap()
}

fn file(path: &Path) -> ImportRequest {
    ImportRequest::new(ImportSource::File(path.to_owned()))
}

fn import(lab: &Lab, request: &ImportRequest) -> Result<ImageInfo, CoreError> {
    Ok(lab.node.import_image(request, &mut |_| {})?)
}

/// What is in the cache, hidden or not.
fn cached(lab: &Lab) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(lab.node.cache())
        .map(|entries| {
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

#[test]
fn a_machine_is_created_from_an_image_by_its_name() {
    let lab = Lab::new(&DISK.replace("path = \"{folder}/image.raw\"", "image = \"debian\""));
    let error = CoreError::from(lab.node.create(&CreateRequest::new("xs"), &|_| {}).unwrap_err());
    assert!(matches!(error, CoreError::Image(ImageError::NoSuchImage { .. })), "{error:?}");
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, "image-not-found"));
    let request = file(&lab.path("image.raw")).name(name("debian"));
    let image = import(&lab, &request).unwrap();
    assert_eq!(image.path, lab.node.cache().join("debian"));
    assert_eq!(lab.node.image(&name("debian")).unwrap(), image);
    assert_eq!(lab.node.images().unwrap().images, [image]);
    let error = import(&lab, &request).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::State, "image-taken"));

    let vm = lab.create("xs");
    assert_eq!(vm.definition().disks[0].size_bytes, 1 << 20);
    let mode = fs::metadata(vm.disk("os")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A copy does not need its image.
    lab.node.remove_image(&name("debian")).unwrap();
    assert_eq!(cached(&lab), Vec::<String>::new());
}

#[test]
fn a_refused_import_creates_nothing() {
    let lab = Lab::new(LEAST);
    let odd = lab.path("a b.raw");
    fs::copy(lab.path("image.raw"), &odd).unwrap();
    let error = import(&lab, &file(&odd)).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Usage, "name-invalid"));
    let error = import(&lab, &file(&lab.path("nothing.raw"))).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, "import-failed"));
    assert!(!lab.node.root().exists());
    import(&lab, &file(&lab.path("image.raw"))).unwrap();
    for directory in [lab.node.root(), &lab.node.cache()] {
        let mode = fs::metadata(directory).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o750, "{}", directory.display());
    }
}

#[test]
fn an_image_that_a_machine_depends_on_is_not_removed() {
    let disk =
        DISK.replace("path = \"{folder}/image.raw\"", "image = \"base\"\nclone = \"overlay\"");
    let lab = Lab::new(&disk);
    import(&lab, &file(&lab.path("image.raw")).name(name("base"))).unwrap();
    let vm = lab.create("xs");
    let refuse = |owner: &str| {
        let error = CoreError::from(lab.node.remove_image(&name("base")).unwrap_err());
        let CoreError::Image(ImageError::ImageInUse { users, .. }) = &error else {
            panic!("{error:?}")
        };
        assert_eq!(*users, [owner]);
        assert_eq!(error.kind(), ErrorKind::State);
        assert_eq!(lab.node.image(&name("base")).unwrap().overlays, [owner]);
    };
    refuse(&format!("machine {}", vm.name()));
    // Its disks name their backing files, if its definition doesn't.
    let path = vm.directory().join("vm.toml");
    let text = fs::read(&path).unwrap();
    fs::write(&path, "nonsense").unwrap();
    refuse(&format!("machine {}", vm.definition().uuid));
    fs::write(&path, text).unwrap();
    vm.remove(Force::No).unwrap();
    // One that names the image by its path, through a link.
    std::os::unix::fs::symlink(lab.node.cache().join("base"), lab.path("link")).unwrap();
    let node = lab.reconfigured(&disk.replace("image = \"base\"", "path = \"{folder}/link\""));
    let made = node.create(&CreateRequest::new("xs"), &|_| {}).unwrap().remove(0).result.unwrap();
    refuse(&format!("machine {}", made.name()));
    made.remove(Force::No).unwrap();
    lab.node.remove_image(&name("base")).unwrap();
}

#[test]
fn an_image_stays_if_a_machine_that_cannot_be_read_may_depend_on_it() {
    let disk =
        DISK.replace("path = \"{folder}/image.raw\"", "image = \"base\"\nclone = \"overlay\"");
    let lab = Lab::new(&disk);
    import(&lab, &file(&lab.path("image.raw")).name(name("base"))).unwrap();
    let vm = lab.create("xs");
    let definition = vm.directory().join("vm.toml");
    let text = fs::read(&definition).unwrap();
    fs::write(&definition, "nonsense").unwrap();
    fs::rename(vm.directory().join("disk"), vm.directory().join("elsewhere")).unwrap();
    fs::write(vm.directory().join("disk"), "").unwrap();
    let error = CoreError::from(lab.node.remove_image(&name("base")).unwrap_err());
    assert!(matches!(error, CoreError::Definition(DefinitionError::Broken { .. })), "{error:?}");
    // What lists images leaves the machine out.
    assert_eq!(lab.node.image(&name("base")).unwrap().overlays, Vec::<String>::new());
    fs::write(&definition, text).unwrap();
    fs::remove_file(vm.directory().join("disk")).unwrap();
    vm.remove(Force::No).unwrap();
}

#[test]
fn an_image_that_a_machine_is_being_created_from_is_not_removed() {
    let lab = Lab::new(&DISK.replace("path = \"{folder}/image.raw\"", "image = \"base\""));
    let image = import(&lab, &file(&lab.path("image.raw")).name(name("base"))).unwrap();
    let held = fs::File::open(&image.path).unwrap();
    // As a process does that creates a machine, and as one does that removes the image.
    held.lock_shared().unwrap();
    let error = CoreError::from(lab.node.remove_image(&name("base")).unwrap_err());
    assert!(matches!(error, CoreError::Image(ImageError::ImageInUse { .. })), "{error:?}");
    lab.create("xs");
    held.unlock().unwrap();
    held.lock().unwrap();
    let error = CoreError::from(lab.node.create(&CreateRequest::new("xs"), &|_| {}).unwrap_err());
    assert!(matches!(error, CoreError::Image(ImageError::BeingRemoved { .. })), "{error:?}");
    assert_eq!((error.kind(), error.code()), (ErrorKind::State, "locked"));
    // A drop alone would not do: a child of another test may have inherited it for an instant.
    held.unlock().unwrap();
    lab.node.remove_image(&name("base")).unwrap();
}

#[test]
fn machines_and_their_image_come_and_go_at_once_and_none_loses_its_backing_file() {
    let disk =
        DISK.replace("path = \"{folder}/image.raw\"", "image = \"base\"\nclone = \"overlay\"");
    let lab = Lab::new(&disk);
    let work = |index: u32| {
        if index % 2 == 0 {
            // Whichever is refused: it came too late.
            drop(import(&lab, &file(&lab.path("image.raw")).name(name("base"))));
            drop(lab.node.remove_image(&name("base")));
            return;
        }
        for vm in lab.node.create(&CreateRequest::new("xs"), &|_| {}).unwrap_or_default() {
            let Ok(vm) = vm.result else { continue };
            let backing = virshle_core::disk::inspect(&vm.disk("os")).unwrap().backing_file;
            assert!(backing.unwrap().exists());
            vm.remove(Force::No).unwrap();
        }
    };
    virshle_core::in_parallel((0..60).collect(), work);
}
