use std::process::Command;

use virshle_disk::SeedRequest;

/// Runs a program if this host has it: its output.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program} {arguments:?}: {text}{errors}");
            Some(text)
        }
        Err(_) => {
            eprintln!("skipped: needs {program}");
            None
        }
    }
}

#[test]
fn other_programs_read_the_seed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("seed");
    SeedRequest::new(&path)
        .file("meta-data", "instance-id: i-1\n")
        .file("user-data", "#cloud-config\n")
        .file("network-config", "version: 2\n")
        .write()
        .unwrap();
    let shown = path.to_str().unwrap();
    if let Some(listing) = run("mdir", &["-b", "-i", shown, "::"]) {
        let mut names: Vec<&str> = listing.lines().collect();
        names.sort_unstable();
        assert_eq!(names, ["::/meta-data", "::/network-config", "::/user-data"]);
    }
    if let Some(content) = run("mtype", &["-i", shown, "::/user-data"]) {
        assert_eq!(content, "#cloud-config\n");
    }
    if let Some(found) = run("blkid", &["-p", "-o", "export", shown]) {
        assert!(found.contains("LABEL=CIDATA") && found.contains("TYPE=vfat"), "{found}");
    }
    drop(run("fsck.vfat", &["-n", shown]));
}
