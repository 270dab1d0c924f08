use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use virshle_core::{
    CoreError, CreateError, CreateRequest, Definition, DefinitionError, ErrorKind, Failure,
    FileError, Force, Node, Provision, Selection, StoreError, VmState, in_parallel,
};

use crate::lab::{DISK, LEAST, Lab};

/// Regression: two machines had one MAC address and one IP address.
#[test]
fn a_fixed_identity_is_given_to_one_machine() {
    let net = |keys: &str| {
        format!("{LEAST}\n[[template.vm.net]]\nname = \"main\"\ntype = \"tap\"\n{keys}\n")
    };
    for (keys, other) in [
        ("mac = \"52:54:00:00:00:0a\"", "mac = \"52:54:00:00:00:0b\""),
        ("address = \"192.0.2.10/24\"", "address = \"192.0.2.11/24\""),
        ("address = \"192.0.2.10/24\"", "vlan = 12\naddress = \"192.0.2.10/24\""),
    ] {
        let lab = Lab::new(&net(keys));
        let create = |node: &Node, count| {
            let request = CreateRequest::new("xs").count(count);
            let request = request.provision(Provision::Nothing);
            node.create(&request, &|_| {})
        };
        let error = create(&lab.node, 2).unwrap_err();
        assert_eq!((error.code(), error.kind()), ("identity-fixed", ErrorKind::Usage), "{error}");
        assert_eq!(lab.machine_folders(), [""; 0]);
        // Of many at once one gets it.
        let made = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8).map(|_| scope.spawn(|| create(&lab.node, 1))).collect();
            tries.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
        });
        let (made, refused): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
        let refused: Vec<CreateError> = refused.into_iter().filter_map(Result::err).collect();
        assert_eq!(refused.len(), 7, "{made:?}");
        assert!(refused.iter().all(|error| error.code() == "identity-taken"), "{refused:?}");
        let made = made.into_iter().flatten().flatten().next().unwrap().result.unwrap();
        assert!(refused[0].to_string().ends_with(&format!("that of machine {}", made.name())));
        create(&lab.reconfigured(&net(other)), 1).unwrap().remove(0).result.unwrap();
        made.remove(Force::No).unwrap();
        create(&lab.node, 1).unwrap().remove(0).result.unwrap();
    }
}

#[test]
fn a_machine_is_a_directory_with_a_definition_and_private_disks() {
    let lab = Lab::new(DISK);
    let before = fs::metadata(lab.path("image.raw")).unwrap();
    let vm = lab.create("xs");
    let definition = Definition::read(&vm.directory().join("vm.toml")).unwrap();
    assert_eq!(&definition, vm.definition());
    assert_eq!((definition.id, definition.template.as_str()), (1, "xs"));
    let disk = fs::metadata(vm.disk("os")).unwrap();
    assert_eq!(disk.len(), 1 << 20);
    assert_eq!(disk.permissions().mode() & 0o777, 0o600);
    assert_eq!(&fs::read(vm.disk("os")).unwrap()[..64 << 10], &[7; 64 << 10]);
    let after = fs::metadata(lab.path("image.raw")).unwrap();
    assert_eq!((before.mtime_nsec(), before.size()), (after.mtime_nsec(), after.size()));
    assert_eq!(vm.state(), VmState::Stopped);
    lab.assert_no_orphans();
}

#[test]
fn many_come_at_once_with_ids_in_a_row_and_names_of_their_own() {
    let lab = Lab::new(LEAST);
    let made = lab.node.create(&CreateRequest::new("xs").count(20), &|_| {}).unwrap();
    let mut ids: Vec<u64> =
        made.iter().map(|vm| vm.result.as_ref().unwrap().definition().id).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=20).collect::<Vec<_>>());
    let names: HashSet<_> =
        made.iter().map(|vm| vm.result.as_ref().unwrap().name().clone()).collect();
    assert_eq!(names.len(), 20);
}

#[test]
fn ids_are_never_given_twice() {
    let lab = Lab::new(LEAST);
    for id in 1..=3 {
        let vm = lab.create("xs");
        assert_eq!(vm.definition().id, id);
        vm.remove(Force::No).unwrap();
    }
    assert_eq!(lab.machine_folders(), Vec::<String>::new());
}

#[test]
fn a_taken_name_is_refused_and_nothing_is_created() {
    let lab = Lab::new(LEAST);
    let request = CreateRequest::new("xs").name("web".parse().unwrap());
    lab.node.create(&request, &|_| {}).unwrap();
    let before = lab.machine_folders();
    let error = CoreError::from(lab.node.create(&request, &|_| {}).unwrap_err());
    assert!(matches!(error, CoreError::Store(StoreError::NameTaken { .. })), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::State);
    assert_eq!(lab.machine_folders(), before);
}

#[test]
fn one_of_many_claimants_gets_the_name() {
    let lab = Lab::new(LEAST);
    let request = CreateRequest::new("xs").name("web".parse().unwrap());
    let results = in_parallel((0..32).collect(), |_| lab.node.create(&request, &|_| {}));
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for error in results.into_iter().filter_map(Result::err) {
        let error = CoreError::from(error);
        assert!(matches!(error, CoreError::Store(StoreError::NameTaken { .. })), "{error:?}");
    }
    assert_eq!(lab.machine_folders().len(), 1);
}

#[test]
fn readers_see_whole_machines_while_others_create_and_remove_them() {
    let lab = Lab::new(DISK);
    let work = |index: u32| -> Result<(), CoreError> {
        if index % 2 == 0 {
            let listing = lab.node.list(&Selection::all())?;
            assert!(listing.broken.is_empty(), "{:?}", listing.broken);
            return Ok(());
        }
        for vm in lab.node.create(&CreateRequest::new("xs"), &|_| {})? {
            vm.result?.remove(Force::No)?;
        }
        Ok(())
    };
    for result in in_parallel((0..60).collect(), work) {
        result.unwrap();
    }
    assert_eq!(lab.machine_folders(), Vec::<String>::new());
}

#[test]
fn a_disk_smaller_than_its_image_leaves_nothing() {
    let lab = Lab::new(&DISK.replace("1M", "512"));
    let made = lab.node.create(&CreateRequest::new("xs").count(2), &|_| {}).unwrap();
    for result in made {
        let error = CoreError::from(result.result.unwrap_err());
        assert!(matches!(error, CoreError::Create(CreateError::Disk { .. })), "{error:?}");
    }
    assert_eq!(lab.machine_folders(), Vec::<String>::new());
}

#[test]
fn a_missing_image_and_an_unknown_template_fail_before_anything_is_created() {
    let lab = Lab::new(DISK);
    fs::remove_file(lab.path("image.raw")).unwrap();
    let error = CoreError::from(lab.node.create(&CreateRequest::new("xs"), &|_| {}).unwrap_err());
    assert!(matches!(error, CoreError::Create(CreateError::MissingImage { .. })), "{error:?}");
    let error = CoreError::from(lab.node.create(&CreateRequest::new("xxs"), &|_| {}).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(!lab.path("root").exists());
}

#[test]
fn what_a_dead_process_left_behind_is_swept_and_frees_its_name() {
    let lab = Lab::new(LEAST);
    lab.create("xs").remove(Force::No).unwrap();
    let dead = lab.path("root/vm/.new-11111111-2222-4333-8444-555555555555");
    fs::create_dir(&dead).unwrap();
    fs::write(dead.join("lock"), "").unwrap();
    fs::write(dead.join("claim"), "7 web\n").unwrap();
    let gone = lab.path("root/vm/.gone-11111111-2222-4333-8444-555555555555");
    fs::create_dir(&gone).unwrap();
    assert_eq!(lab.node.check().unwrap().orphans.len(), 2);
    let request = CreateRequest::new("xs").name("web".parse().unwrap());
    lab.node.create(&request, &|_| {}).unwrap();
    assert!(!dead.exists() && !gone.exists());
    lab.assert_no_orphans();
}

#[test]
fn a_broken_definition_does_not_hide_the_others() {
    let lab = Lab::new(LEAST);
    let vm = lab.create("xs");
    let broken = lab.create("xs");
    fs::write(broken.directory().join("vm.toml"), "id = 2\nname =").unwrap();
    let listing = lab.node.list(&Selection::all()).unwrap();
    assert_eq!(listing.vms.len(), 1);
    assert_eq!(listing.vms[0].uuid, vm.definition().uuid);
    assert_eq!(listing.broken.len(), 1);
}

#[test]
fn a_copied_definition_is_no_second_machine() {
    let lab = Lab::new(LEAST);
    let vm = lab.create("xs");
    let copy = vm.directory().with_file_name("00000000-0000-4000-8000-000000000000");
    fs::create_dir(&copy).unwrap();
    fs::copy(vm.directory().join("vm.toml"), copy.join("vm.toml")).unwrap();
    let listing = lab.node.list(&Selection::all()).unwrap();
    assert_eq!((listing.vms.len(), listing.broken.len()), (1, 1));
    let uuid = "00000000-0000-4000-8000-000000000000".parse().unwrap();
    let error = CoreError::from(lab.node.vm(uuid).unwrap_err());
    assert!(
        matches!(error, CoreError::Definition(DefinitionError::UuidMismatch { .. })),
        "{error:?}"
    );
}

/// Regression: after a power cut the file was empty, and ids were given twice (7965246).
#[test]
fn the_next_id_is_written_in_its_place() {
    let lab = Lab::new(LEAST);
    let next = lab.path("root/next-id");
    lab.create("xs").remove(Force::No).unwrap();
    let before = fs::metadata(&next).unwrap();
    assert_eq!(lab.create("xs").definition().id, 2);
    let after = fs::metadata(&next).unwrap();
    assert_eq!((after.ino(), after.len()), (before.ino(), before.len()));
    // As it was written before, and shorter.
    fs::write(&next, "7\n").unwrap();
    assert_eq!(lab.create("xs").definition().id, 7);
    assert_eq!(fs::read_to_string(&next).unwrap().trim(), "8");
    // It is no way out of the root.
    let precious = lab.path("precious");
    fs::rename(&next, &precious).unwrap();
    symlink(&precious, &next).unwrap();
    let error = CoreError::from(lab.node.create(&CreateRequest::new("xs"), &|_| {}).unwrap_err());
    assert!(matches!(error, CoreError::File(FileError::Read { .. })), "{error:?}");
    assert_eq!(fs::read_to_string(&precious).unwrap().trim(), "8");
}

/// Regression: a link in the place of a file of the node's was followed (ec19098).
#[test]
fn links_in_the_root_lead_nowhere() {
    let lab = Lab::new(LEAST);
    let vm = lab.create("xs");
    let precious = lab.path("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "kept").unwrap();
    fs::write(precious.join("vm.toml"), "kept").unwrap();
    let link = |name: &str| symlink(&precious, lab.path("root/vm").join(name)).unwrap();
    link(".new-11111111-2222-4333-8444-555555555555");
    link(".gone-11111111-2222-4333-8444-555555555555");
    link("11111111-2222-4333-8444-555555555555");
    symlink(precious.join("file"), lab.path("root/next-id.new")).unwrap();
    symlink(precious.join("file"), vm.directory().join("disk/os")).unwrap();
    symlink(&precious, vm.directory().join("tmp/link")).unwrap();
    assert_eq!(lab.node.list(&Selection::all()).unwrap().vms.len(), 1);
    let orphans = lab.node.check().unwrap().orphans;
    for (orphan, result) in lab.node.repair(orphans) {
        result.unwrap_or_else(|error| panic!("{orphan}: {error:?}"));
    }
    symlink(precious.join("file"), lab.path("root/next-id.new")).unwrap();
    lab.create("xs").remove(Force::No).unwrap();
    vm.remove(Force::No).unwrap();
    assert_eq!(lab.machine_folders(), ["11111111-2222-4333-8444-555555555555"]);
    for name in ["file", "vm.toml"] {
        assert_eq!(fs::read_to_string(precious.join(name)).unwrap(), "kept");
    }
    assert_eq!(fs::read_dir(&precious).unwrap().count(), 2);
}

#[test]
fn what_is_no_image_is_refused_and_never_waited_for() {
    let lab = Lab::new(DISK);
    let image = lab.path("image.raw");
    let refused = || {
        let error =
            CoreError::from(lab.node.create(&CreateRequest::new("xs"), &|_| {}).unwrap_err());
        let CoreError::Create(CreateError::MissingImage { source, .. }) = error else {
            panic!("{error:?}")
        };
        source.to_string()
    };
    fs::remove_file(&image).unwrap();
    fs::create_dir(&image).unwrap();
    assert_eq!(refused(), "it is a directory");
    fs::remove_dir(&image).unwrap();
    symlink("/dev/zero", &image).unwrap();
    assert_eq!(refused(), "it is a device");
    fs::remove_file(&image).unwrap();
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &image, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert_eq!(refused(), "it is a FIFO");
    fs::remove_file(lab.path("kernel")).unwrap();
    fs::rename(&image, lab.path("kernel")).unwrap();
    fs::write(&image, vec![7; 64 << 10]).unwrap();
    assert_eq!(refused(), "it is a FIFO");
    assert!(!lab.path("root").exists());
}

#[test]
fn a_changed_template_does_not_change_a_machine() {
    let lab = Lab::new(LEAST);
    let vm = lab.create("xs");
    let node: Node = lab.reconfigured(&LEAST.replace("64MiB", "128MiB"));
    let selection = Selection::word("1");
    let found = node.select(&selection).unwrap();
    assert_eq!(found[0].definition(), vm.definition());
}

#[test]
fn sockets_that_could_have_no_name_fail_before_anything_is_created() {
    let net = format!("[[template.vm.net]]\nname = \"{}\"\ntype = \"tap\"\n", "n".repeat(63));
    let lab = Lab::new(&format!("{LEAST}{net}"));
    let error = CoreError::from(lab.node.create(&CreateRequest::new("xs"), &|_| {}).unwrap_err());
    assert!(matches!(error, CoreError::Create(CreateError::SocketPath { .. })), "{error:?}");
    assert!(!lab.path("root").exists());
}

#[test]
fn a_machine_with_user_data_gets_a_seed_as_its_last_disk() {
    let lab = Lab::new(DISK);
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE7UyfmOAcsY5uvh3dOU7kHd9fVRrLJp5CqHYhSFBcd+";
    let me = format!("[[user]]\nname = \"anon\"\nssh.authorized_keys = [\"{key}\"]\n");
    fs::write(lab.path("me.toml"), me).unwrap();
    let data = virshle_core::read_user_data(&lab.path("me.toml")).unwrap();
    let request = CreateRequest::new("xs").provision(Provision::With(vec![data]));
    let made = lab.node.create(&request, &|_| {}).unwrap().remove(0).result.unwrap();
    let definition = made.definition();
    let seed = definition.disks.last().unwrap();
    assert_eq!((seed.name.as_str(), seed.clone.as_str(), seed.readonly), ("seed", "seed", true));
    assert_eq!(definition.ssh_user.as_deref(), Some("anon"));
    let bytes = fs::read(made.disk("seed")).unwrap();
    let holds = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds(key) && holds(&definition.uuid.to_string()));

    let plain = lab.create("xs");
    assert_eq!((plain.definition().disks.len(), plain.definition().ssh_user.as_ref()), (1, None));
}

#[test]
fn invalid_user_data_fails_before_anything_is_created() {
    let lab = Lab::new(&LEAST.replace("vcpu = 1", "vcpu = 1\nuser_data = \"{folder}/me.toml\""));
    let error = CoreError::from(lab.node.create(&CreateRequest::new("xs"), &|_| {}).unwrap_err());
    assert!(matches!(error, CoreError::File(FileError::Read { .. })), "{error:?}");
    fs::write(lab.path("me.toml"), "[[usr]]\n").unwrap();
    let error = CoreError::from(lab.node.create(&CreateRequest::new("xs"), &|_| {}).unwrap_err());
    assert!(error.to_string().contains("did you mean \"user\"?"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(!lab.path("root").exists());
}

#[test]
fn a_broken_machine_does_not_keep_the_others_from_being_worked_on() {
    let lab = Lab::new(LEAST);
    lab.create("xs");
    let broken = lab.create("xs");
    // Its head can be read, which is enough for a listing; the rest can't.
    let path = broken.directory().join("vm.toml");
    let text = fs::read_to_string(&path).unwrap().replace("[boot", "[bot");
    fs::write(&path, text).unwrap();
    assert_eq!(lab.node.list(&Selection::all()).unwrap().vms.len(), 2);
    assert_eq!(lab.node.select(&Selection::all()).unwrap().len(), 1);
    let error = CoreError::from(lab.node.select(&Selection::word("2")).unwrap_err());
    assert!(matches!(error, CoreError::Definition(DefinitionError::Broken { .. })), "{error:?}");
}
