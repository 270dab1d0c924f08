//! The schemas for editors know each key, and no other.

use std::collections::BTreeSet;
use std::path::Path;

use virshle_template::UserData;

use crate::config::{SEED, WHOLE, parse};
use crate::schema_check::Schema;

/// The keys that the parser names when it is asked for one that it does not know.
fn known(mistakes: &[virshle_template::Mistake]) -> BTreeSet<String> {
    let unknown = mistakes.iter().find(|mistake| mistake.message.contains("zzz")).unwrap();
    let shown = unknown.to_string();
    let (_, keys) = shown.split_once("= expected ").unwrap_or_else(|| panic!("{shown}"));
    keys.trim().trim_start_matches("one of ").split(", ").map(ToOwned::to_owned).collect()
}

/// The keys that the table at `pointer` may have.
fn keys(schema: &Schema, pointer: &str) -> BTreeSet<String> {
    let table = schema.root.pointer(pointer).unwrap_or_else(|| panic!("{pointer}"));
    table["properties"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn each_key_of_the_parser_is_in_the_schema_and_no_other() {
    let schema = Schema::config();
    let vm = "[[template.vm]]\nname = \"a\"\nvcpu = 1\nvram = 1\n";
    for (text, pointer) in [
        ("zzz = 1\n".to_owned(), ""),
        ("[node]\nzzz = 1\n".to_owned(), "/definitions/node"),
        ("[network]\nzzz = 1\n".to_owned(), "/definitions/network"),
        ("[hypervisor]\nzzz = 1\n".to_owned(), "/definitions/hypervisor"),
        ("[catalogue]\nzzz = 1\n".to_owned(), "/properties/catalogue"),
        (
            "[[catalogue.image]]\nname = \"a\"\nurl = \"/b\"\nzzz = 1\n".to_owned(),
            "/definitions/catalogue_image",
        ),
        (format!("{vm}zzz = 1\n"), "/definitions/vm"),
        (format!("{vm}[template.vm.limits]\nzzz = 1\n"), "/definitions/limits"),
        (format!("{vm}[[template.vm.disk]]\nname = \"a\"\nzzz = 1\n"), "/definitions/disk"),
        (
            format!("{vm}[[template.vm.net]]\nname = \"a\"\ntype = \"tap\"\nzzz = 1\n"),
            "/definitions/net",
        ),
        (
            "[[template.vm]]\nname = \"a\"\nvcpu = { boot = 1, zzz = 1 }\nvram = 1\n".to_owned(),
            "/definitions/vm/properties/vcpu/anyOf/1",
        ),
        (
            "[[template.vm]]\nname = \"a\"\nvram = { size = 1, zzz = 1 }\nvcpu = 1\n".to_owned(),
            "/definitions/vm/properties/vram/anyOf/1",
        ),
    ] {
        let asked = match parse(&text) {
            Ok(config) => known(config.mistakes()),
            Err(error) => known(error.mistakes()),
        };
        assert_eq!(asked, keys(schema, pointer), "schema/config.schema.json, {pointer:?}");
    }
    let schema = Schema::user_data();
    for (text, pointer) in [
        ("zzz = 1\n", ""),
        ("[[user]]\nname = \"a\"\nzzz = 1\n", "/properties/user/items"),
        ("[[user]]\nname = \"a\"\n[user.ssh]\nzzz = 1\n", "/properties/user/items/properties/ssh"),
    ] {
        let error = UserData::parse(text, Path::new("/me.toml")).unwrap_err();
        assert_eq!(known(error.mistakes()), keys(schema, pointer), "user-data, {pointer:?}");
    }
}

#[test]
fn what_an_editor_can_mark_is_marked() {
    let vm = "[[template.vm]]\nname = \"a\"\nvcpu = 1\nvram = 1\n";
    let mut wrong = 0;
    for (base, line) in [
        ("", "[node]\nalias = \"\"\n"),
        ("", "[node]\nalias = 7\n"),
        ("", "[network]\nbridge = \"a-much-too-long-name\"\n"),
        ("", "[network]\nbridge = \"a/b\"\n"),
        ("", "[network]\ndatapath = \"kernel\"\n"),
        ("", "[network]\novsdb = \"/run/db.sock\"\n"),
        ("", "[hypervisor]\nprogramm = \"ch\"\n"),
        ("", "[[catalogue.image]]\nname = \"a:b:c\"\nurl = \"/b\"\n"),
        ("", "[[catalogue.image]]\nname = \"a\"\n"),
        ("", "[[catalogue.image]]\nname = \"a\"\nurl = \"/b\"\nsha256 = \"00\"\n"),
        ("", "[[template.vm]]\nname = \"a\"\nvcpu = 1\n"),
        ("", "[[template.vm]]\nname = \"a/b\"\nvcpu = 1\nvram = 1\n"),
        ("", "[template]\nvm = { name = \"a\" }\n"),
        (vm, "firmware = \"/f\"\nkernel = \"/k\"\n"),
        (vm, "cmdline = \"quiet\"\n"),
        (vm, "autostart = \"yes\"\n"),
        (vm, "[[template.vm.disk]]\nname = \"os\"\n"),
        (vm, "[[template.vm.disk]]\nname = \"os\"\nsize = 20\n"),
        (vm, "[[template.vm.disk]]\nname = \"os\"\nsize = \"20X\"\n"),
        (vm, "[[template.vm.disk]]\nname = \"os\"\nsize = \"20G\"\nclone = \"copy\"\n"),
        (vm, "[[template.vm.disk]]\nname = \"os\"\npath = \"/a\"\nimage = \"b\"\n"),
        (vm, "[[template.vm.net]]\nname = \"main\"\npublish = \"80\"\n"),
        (vm, "[[template.vm.net]]\nname = \"main\"\ntype = \"bridge\"\n"),
        (vm, "[[template.vm.net]]\nname = \"main\"\n[template.vm.net.type]\n"),
        (vm, "[[template.vm.net]]\nname = \"main\"\ntype = \"tap\"\nvlan = 4095\n"),
        (vm, "[[template.vm.net]]\nname = \"main\"\ntype = \"tap\"\nvlan = 1\ntrunk = [2]\n"),
        (vm, "[[template.vm.net]]\nname = \"main\"\ntype = \"tap\"\nmac = \"53:54:00:00:00:01\"\n"),
        (vm, "[[template.vm.net]]\nname = \"main\"\ntype = \"tap\"\naddress = \"192.0.2.1\"\n"),
    ] {
        let text = format!("{base}{line}");
        // Each is a mistake to the parser, and one to the schema.
        let has_mistakes = parse(&text).map_or(true, |config| !config.mistakes().is_empty());
        assert!(has_mistakes, "{text}");
        Schema::config().assert_agrees(&text, &["unknown key ".into()]);
        wrong += 1;
    }
    assert_eq!(wrong, 28);
    for text in
        [SEED, WHOLE, "[node]\nshutdown_timeout = 60\n", "[node]\nshutdown_timeout = \"1m\"\n"]
    {
        assert_eq!(parse(text).unwrap().mistakes(), []);
        Schema::config().assert_agrees(text, &[]);
    }
}

/// Each configuration that the documents show is one that an editor does not mark.
#[test]
fn the_examples_of_the_documents_agree() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut documents = vec![root.join("README.md")];
    for folder in ["docs", "docs/guide", "docs/reference"] {
        // A packaged crate has no documents beside it.
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else { return };
        documents.extend(entries.map(|entry| entry.unwrap().path()));
    }
    let mut examples = 0;
    for path in documents.iter().filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let text = std::fs::read_to_string(path).unwrap();
        let blocks = text.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```"));
        for (block, _) in blocks {
            let is_config = ["[node]", "[network]", "[hypervisor]", "[[template", "[[catalogue"];
            if is_config.iter().any(|header| block.contains(header)) {
                let mistakes: Vec<String> = match parse(block) {
                    Ok(config) => config.mistakes().iter().map(ToString::to_string).collect(),
                    Err(error) => error.mistakes().iter().map(|one| one.message.clone()).collect(),
                };
                Schema::config().assert_agrees(block, &mistakes);
                examples += usize::from(mistakes.is_empty());
            } else if let Ok(UserData::Settings(_)) = UserData::parse(block, Path::new("/me.toml"))
            {
                Schema::user_data().assert_agrees(block, &[]);
                examples += 1;
            }
        }
    }
    assert!(examples >= 3, "{examples}");
}

/// The line by which an editor finds a schema is a comment, and nothing else.
#[test]
fn a_file_that_names_its_schema_is_read() {
    let line = "#:schema https://raw.githubusercontent.com/pipelight/virshle/main/virshle-template/schema/config.schema.json\n";
    assert_eq!(parse(&format!("{line}{SEED}")).unwrap().templates().count(), 1);
    let data =
        UserData::parse("#:schema user-data.schema.json\npackages = [\"htop\"]\n", Path::new("/m"));
    assert!(matches!(data, Ok(UserData::Settings(_))), "{data:?}");
}
