//! Manual pages and completions.

use crate::home::Home;

#[test]
fn the_manual_page_has_the_exit_codes() {
    let page = Home::new().ok("man");
    assert!(page.contains(".TH v 1"), "{page}");
    assert!(page.contains("Exit codes"), "{page}");
}

#[test]
fn every_command_has_a_page() {
    let home = Home::new();
    assert_eq!(home.ok("man --dir man/pages"), "");
    for name in ["v", "v-vm", "v-vm-create", "v-vm-ls", "v-node-check", "v-completions"] {
        let page = std::fs::read_to_string(home.path("man/pages").join(format!("{name}.1")));
        assert!(page.unwrap().contains(&name.replace('-', "\\-")), "{name}");
    }
    home.run("man --dir image.raw").fails_with(1, &["cannot write", "image.raw"]);
}

#[test]
fn every_shell_has_completions_for_both_names() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = home.ok(&format!("completions {shell}"));
        assert!(script.contains("virshle") && script.contains("restart"), "{shell}");
    }
}
