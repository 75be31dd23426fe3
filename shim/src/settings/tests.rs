use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;

use toml::Value;

use super::definition::keys;
use super::variables::OTHER_VARIABLES;
use super::*;
use crate::error::ErrorKind;

fn user(text: &str) -> Result<Settings, Error> {
    let path = Path::new("u.toml");
    Settings::resolve(&[Layer::parse(Origin::User(path.into()), path, text, keys())?], false)
}

fn project(text: &str) -> Result<Settings, Error> {
    let path = Path::new("p.toml");
    Settings::resolve(&[Layer::parse(Origin::Project(path.into()), path, text, keys())?], false)
}

fn environment<V: AsRef<OsStr>>(variables: &[(&str, V)]) -> Result<Settings, Error> {
    let variables =
        variables.iter().map(|(name, value)| (OsString::from(name), value.as_ref().to_owned()));
    Settings::resolve(&Layer::environment(variables, keys())?, false)
}

#[track_caller]
fn assert_refused(result: Result<Settings, Error>, message: &str) {
    let error = result.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.kind()), (message, ErrorKind::Settings));
    assert_ne!(error.hint(), "");
}

#[track_caller]
fn assert_hint(result: Result<Settings, Error>, message: &str, hint: &str) {
    let error = result.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.hint()), (message, hint));
}

#[test]
fn every_key_has_one_name_one_variable_and_a_documentation() {
    for key in keys() {
        let same_name = keys().iter().filter(|other| other.name == key.name);
        let same_variable = keys().iter().filter(|other| other.variable == key.variable);
        assert_eq!((same_name.count(), same_variable.count()), (1, 1), "{}", key.name);
        let of_hetzner = key.name.strip_prefix("hetzner_");
        let (prefix, rest) =
            of_hetzner.map_or(("CARGO_BURST_", key.name), |rest| ("HCLOUD_", rest));
        assert_eq!(key.variable, format!("{prefix}{}", rest.to_ascii_uppercase()));
        assert!(!key.secret || key.is_of_user, "{}", key.name);
    }
}

#[test]
fn the_documentation_is_a_settings_file_with_the_defaults() {
    let text = documentation();
    assert_eq!(text.lines().find(|line| line.chars().count() > 88), None);
    let documented = user(&text).unwrap();
    let built_in = Settings::resolve(&[], false).unwrap();
    let values = |settings: &Settings| -> Vec<(&str, Shown)> {
        settings.effective.iter().map(|one| (one.key, one.shown.clone())).collect()
    };
    assert_eq!(values(&documented), values(&built_in));
    assert_eq!(built_in.effective, defaults());
    // The examples of settings without a default are valid, too.
    let examples = text.replace("# monthly_budget =", "monthly_budget =");
    assert_eq!(user(&examples).unwrap().monthly_budget, Some(40.0));
    let start = text.find("# Size of a new volume").unwrap();
    let end = text.find("# Whether a server whose keeper is gone").unwrap();
    assert_eq!(
        &text[start..end],
        "# Size of a new volume in GB. Each project has a volume of its own.\n\
         # Type: a whole number between 10 and 10240\n\
         # Variable: CARGO_BURST_VOLUME_GB\n\
         # A project file needs trust for a larger value than your own\n\
         volume_gb = 200\n\n"
    );
}

#[test]
fn higher_layers_win_and_lists_add_up() {
    let text = "region = 'hel1'\nvolume_gb = 50\nforward_env = ['A']\nhetzner_token = 'x-secret'";
    let path = Path::new("u.toml");
    let mut layers = vec![
        Layer::parse(Origin::User(path.into()), path, text, keys()).unwrap(),
        Layer::parse(
            Origin::Project("p.toml".into()),
            Path::new("p.toml"),
            "region = ['nbg1', 'ash']\nforward_env = ['B']\nunexclude = []",
            keys(),
        )
        .unwrap(),
    ];
    let variables = [("CARGO_BURST_FORWARD_ENV", "B, C"), ("CARGO_BURST_VOLUME_GB", "70")];
    layers
        .extend(Layer::environment(variables.map(|(n, v)| (n.into(), v.into())), keys()).unwrap());
    let settings = Settings::resolve(&layers, true).unwrap();
    assert_eq!(settings.region, ["nbg1", "ash"]);
    assert_eq!(settings.volume_gb, 70);
    assert_eq!(settings.forward_env, ["A", "B", "C"]);
    assert_eq!(settings.compression, Compression::Auto);
    let effective = |key: &str| {
        let found = settings.effective.iter().find(|one| one.key == key).unwrap();
        (found.shown.clone(), found.origins.clone())
    };
    let of_user = Origin::User("u.toml".into());
    let of_project = Origin::Project("p.toml".into());
    let of_variable = Origin::Environment("CARGO_BURST_FORWARD_ENV");
    let list = Shown::Value(Value::from(vec!["A", "B", "C"]));
    assert_eq!(effective("forward_env"), (list, vec![of_user.clone(), of_project, of_variable]));
    assert_eq!(effective("unexclude").1, [Origin::Default]);
    assert_eq!(effective("hetzner_token"), (Shown::Hidden, vec![of_user]));
    assert_eq!(effective("monthly_budget").1, []);
    assert_eq!(settings.hetzner_token.as_ref().unwrap().reveal(), "x-secret");
    assert!(!format!("{settings:?}").contains("x-secret"));
}

#[test]
fn values_of_the_wrong_type_are_refused() {
    for (text, message) in [
        (
            "volume_gb = 'big'",
            "u.toml:1: `volume_gb` must be a whole number between 10 and 10240 (got a string)",
        ),
        (
            "\nregion = [1]",
            "u.toml:2: `region` must be a string or a list of strings (got an integer)",
        ),
        ("region = 1.5", "u.toml:1: `region` must be a string or a list of strings (got a float)"),
        ("keep_paid_hour = 1", "u.toml:1: `keep_paid_hour` must be true or false (got an integer)"),
        (
            "compression = []",
            "u.toml:1: `compression` must be \"auto\", \"always\" or \"never\" (got an array)",
        ),
        ("hetzner_token = 5", "u.toml:1: `hetzner_token` must be a string (got an integer)"),
        (
            "monthly_budget = true",
            "u.toml:1: `monthly_budget` must be an amount of EUR, such as 40 or 12.5 (got a boolean)",
        ),
    ] {
        assert_refused(user(text), message);
    }
    for (name, text, message) in [
        (
            "CARGO_BURST_VOLUME_GB",
            "big",
            "`CARGO_BURST_VOLUME_GB` must be a whole number between 10 and 10240 (got \"big\")",
        ),
        (
            "CARGO_BURST_KEEP_PAID_HOUR",
            "yes",
            "`CARGO_BURST_KEEP_PAID_HOUR` must be true or false (got \"yes\")",
        ),
        (
            "CARGO_BURST_COMPRESSION",
            "zip",
            "`CARGO_BURST_COMPRESSION` must be \"auto\", \"always\" or \"never\" (got \"zip\")",
        ),
    ] {
        assert_refused(environment(&[(name, text)]), message);
    }
}

#[test]
fn values_out_of_range_are_refused() {
    let range = "must be between 10 and 10240";
    for got in ["5", "10241", "-1", "99999999999999999999"] {
        let text = format!("volume_gb = {got}");
        assert_refused(user(&text), &format!("u.toml:1: `volume_gb` {range} (got {got})"));
        let message = format!("`CARGO_BURST_VOLUME_GB` {range} (got {got})");
        assert_refused(environment(&[("CARGO_BURST_VOLUME_GB", got)]), &message);
    }
    assert_eq!(user("volume_gb = 10").unwrap().volume_gb, 10);
    assert_eq!(user("volume_gb = 0x2800").unwrap().volume_gb, 10240);
    assert_refused(
        user("keep_alive_secs = 31536001"),
        "u.toml:1: `keep_alive_secs` must be between 0 and 31536000 (got 31536001)",
    );
    // A value that a higher layer replaces is checked, too.
    let path = Path::new("u.toml");
    let mut layers =
        vec![Layer::parse(Origin::User(path.into()), path, "volume_gb = 5", keys()).unwrap()];
    let variable = ("CARGO_BURST_VOLUME_GB".into(), "50".into());
    layers.extend(Layer::environment([variable], keys()).unwrap());
    assert_refused(
        Settings::resolve(&layers, false),
        "u.toml:1: `volume_gb` must be between 10 and 10240 (got 5)",
    );
}

#[test]
fn empty_values_are_refused_and_empty_variables_count_as_unset() {
    assert_refused(user("region = []"), "u.toml:1: `region` must not be empty");
    assert_refused(
        user("server_type = ['ccx63', '']"),
        "u.toml:1: `server_type` must not contain an empty string",
    );
    assert_refused(
        user("trusted_directories = ['/srv', '~/work', '~', '~me', 'work']"),
        "u.toml:1: `trusted_directories` must contain paths that begin with `/` or `~/` (got \
         \"~me\")",
    );
    assert_refused(user("region = ''"), "u.toml:1: `region` must not contain an empty string");
    assert_refused(user("hetzner_endpoint = ''"), "u.toml:1: `hetzner_endpoint` must not be empty");
    assert_refused(
        environment(&[("CARGO_BURST_REGION", " ,")]),
        "`CARGO_BURST_REGION` must not be empty",
    );
    assert_eq!(
        environment(&[("CARGO_BURST_REGION", "")]).unwrap().region,
        ["hel1", "fsn1", "nbg1"]
    );
    let refused = "must contain names of variables, without `=` and NUL";
    for (text, got) in [("A=secret", "A=…"), ("=", "=…"), ("A\\u0000B", "A\\0B…")] {
        assert_refused(
            user(&format!("forward_env = ['B', \"{text}\"]")),
            &format!("u.toml:1: `forward_env` {refused} (got `{got}`)"),
        );
    }
    assert_refused(
        environment(&[("CARGO_BURST_FORWARD_ENV", "A-B,A=b")]),
        &format!("`CARGO_BURST_FORWARD_ENV` {refused} (got `A=…`)"),
    );
    assert_eq!(user("forward_env = 'A-B'").unwrap().forward_env, ["A-B"]);
    assert_eq!(user("forward_env = []").unwrap().forward_env, [""; 0]);
}

#[test]
fn amounts_are_finite_and_not_negative() {
    let refused = "must be an amount of EUR, such as 40 or 12.5";
    for got in ["nan", "inf", "-inf", "-0.01", "-5", "1e999"] {
        assert_refused(
            user(&format!("monthly_budget = {got}")),
            &format!("u.toml:1: `monthly_budget` {refused} (got {got})"),
        );
        assert_refused(
            environment(&[("CARGO_BURST_MONTHLY_BUDGET", got)]),
            &format!("`CARGO_BURST_MONTHLY_BUDGET` {refused} (got {got:?})"),
        );
    }
    let budget = |text: &str| user(&format!("monthly_budget = {text}")).unwrap().monthly_budget;
    assert_eq!(
        (budget("40"), budget("12.5"), budget("0x10")),
        (Some(40.0), Some(12.5), Some(16.0))
    );
    let zero = budget("-0.0").unwrap();
    assert_eq!(format!("{zero:.2}"), "0.00");
}

#[test]
fn unknown_keys_have_a_line_and_a_suggestion() {
    assert_hint(
        user("volume_gb = 10\n\nkeep_alive_sec = 3"),
        "u.toml:3: unknown key `keep_alive_sec`",
        "did you mean `keep_alive_secs`?",
    );
    let general = "`cargo burst config --defaults` shows every setting with its type and default";
    assert_hint(user("[zebra]\nx = 1"), "u.toml:1: unknown key `zebra`", general);
    assert_hint(user("\"a\\nb\" = 1"), "u.toml:1: unknown key `a\\nb`", general);
}

#[test]
fn a_syntax_error_has_its_line_and_the_parsers_message() {
    assert_refused(user("a = = 1"), "u.toml:1: extra `=`, expected nothing");
    assert_refused(user("\n[hetzner\n"), "u.toml:2: unclosed table, expected `]`");
    assert_refused(user("volume_gb = 10\nvolume_gb = 20"), "u.toml:2: duplicate key");
}

#[test]
fn a_project_file_holds_neither_token_nor_endpoint() {
    assert_hint(
        project("\nhetzner_token = 'x'"),
        "p.toml:2: `hetzner_token` is not allowed in a project file, only in your user config",
        "move it to your user config (usually ~/.config/cargo-burst/config.toml) or set \
         `HCLOUD_TOKEN`; revoke the token if it was committed",
    );
    assert_hint(
        project("hetzner_endpoint = 'https://example.org'"),
        "p.toml:1: `hetzner_endpoint` is not allowed in a project file, only in your user config",
        "move it to your user config (usually ~/.config/cargo-burst/config.toml) or set \
         `HCLOUD_ENDPOINT`",
    );
}

#[test]
fn a_password_in_the_endpoint_is_not_shown() {
    let settings = user("hetzner_endpoint = 'https://me:password@api.example/v1'").unwrap();
    assert_eq!(settings.hetzner_endpoint, "https://me:password@api.example/v1");
    let shown = settings.effective().iter().find(|one| one.key == "hetzner_endpoint").unwrap();
    assert_eq!(shown.shown, Shown::Value("https://[hidden]@api.example/v1".into()));
}

#[test]
fn a_malformed_token_is_named_and_not_shown() {
    let error = environment(&[("HCLOUD_TOKEN", "two words")]).unwrap_err();
    assert_eq!(error.to_string(), "`HCLOUD_TOKEN` is not a Hetzner API token");
    assert_eq!(error.kind(), ErrorKind::Token);
    assert_eq!(
        error.causes(),
        ["a token has 1 to 256 letters, digits and punctuation characters, without spaces"]
    );
    let error = user("hetzner_token = 'two words'").unwrap_err();
    assert_eq!(error.to_string(), "u.toml:1: `hetzner_token` is not a Hetzner API token");
}

#[test]
fn unknown_variables_are_refused_with_the_nearest_name() {
    for (wrong, right) in [
        ("CARGO_BURST_VOLUM_GB", "CARGO_BURST_VOLUME_GB"),
        ("CARGO_BURST_LOGS", "CARGO_BURST_LOG"),
        ("CARGO_BURST_HETZNER_TOKEN", "HCLOUD_TOKEN"),
    ] {
        assert_hint(
            environment(&[(wrong, "1")]),
            &format!("unknown environment variable `{wrong}`"),
            &format!("did you mean `{right}`?"),
        );
    }
    assert_hint(
        environment(&[("CARGO_BURST_ZEBRA", "")]),
        "unknown environment variable `CARGO_BURST_ZEBRA`",
        "unset it; `cargo burst config --defaults` shows the variables of all settings",
    );
    let others = OTHER_VARIABLES.map(|variable| (variable.name, "1"));
    environment(&others).unwrap();
    environment(&[("CARGO_BURST", "1"), ("PATH", "/bin"), ("HCLOUD_CONTEXT", "x")]).unwrap();
}

#[test]
fn a_variable_that_is_not_utf8_is_named() {
    let value = OsString::from_vec(vec![b'h', 0xff]);
    assert_refused(
        environment(&[("CARGO_BURST_REGION", &value)]),
        "`CARGO_BURST_REGION` is not valid UTF-8",
    );
    assert_eq!(environment(&[("PATH", &value)]).unwrap().effective, defaults());
}

/// Loads a user config of these bytes and this mode; the path in texts becomes `FILE`.
fn load(bytes: &[u8], mode: u32) -> Result<Settings, (String, Vec<String>, String)> {
    let home = tempfile::tempdir().unwrap();
    let file = user_file(home.path());
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, bytes).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    named(Settings::load(home.path(), None, []), &file)
}

fn named(
    result: Result<Settings, Error>,
    file: &Path,
) -> Result<Settings, (String, Vec<String>, String)> {
    let name = |text: &str| text.replace(&file.display().to_string(), "FILE");
    result.map_err(|error| (name(&error.to_string()), error.causes().to_vec(), name(error.hint())))
}

fn refused(message: &str, causes: &[&str], hint: &str) -> (String, Vec<String>, String) {
    let causes = causes.iter().map(ToString::to_string).collect();
    (message.to_owned(), causes, hint.to_owned())
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let home = tempfile::tempdir().unwrap();
    let trust = TrustStore::new(home.path().join("trust"), None);
    let project = Project { root: home.path(), trust: &trust };
    assert_eq!(Settings::load(home.path(), Some(project), []).unwrap().effective, defaults());
    let file = user_file(home.path());
    fs::create_dir_all(&file).unwrap();
    assert_eq!(
        named(Settings::load(home.path(), None, []), &file).unwrap_err(),
        refused("`FILE` is a directory, not a settings file", &[], "rename or remove `FILE`")
    );
    fs::remove_dir(&file).unwrap();
    std::os::unix::fs::symlink(&file, &file).unwrap();
    assert_eq!(
        named(Settings::load(home.path(), None, []), &file).unwrap_err(),
        refused(
            "cannot read the settings in `FILE`",
            &["Too many levels of symbolic links (os error 40)"],
            "check the file system that holds `FILE`"
        )
    );
    assert_eq!(
        load(b"\nregion = '\xff'", 0o644).unwrap_err(),
        refused("FILE:2: the file is not UTF-8", &[], "save `FILE` as UTF-8")
    );
}

#[test]
fn a_file_with_a_token_is_its_owners_alone() {
    assert_eq!(
        load(b"hetzner_token = 'x'", 0o640).unwrap_err(),
        refused(
            "`FILE` holds a token, but other users can read or write the file",
            &[],
            "run `chmod 600 FILE`; if other users may have read the token, revoke it"
        )
    );
    assert!(load(b"hetzner_token = 'x'", 0o600).unwrap().hetzner_token.is_some());
    assert_eq!(load(b"volume_gb = 30", 0o666).unwrap().volume_gb, 30);
}

#[test]
fn variables_with_the_paths_of_this_machine_are_not_forwarded() {
    let names = ["RUST_LOG", "PATH", "HOME", "CARGO_BURST_INSIDE"];
    assert_eq!(names.map(is_forwardable), [true, false, false, false]);
}

/// The names with our prefix in all sources of this crate but the settings' own.
fn names_in_sources(directory: &Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("settings") {
            names_in_sources(&path, names);
        } else if path.extension() == Some(OsStr::new("rs")) {
            let text = fs::read_to_string(&path).unwrap();
            let is_of_name = |byte: char| byte.is_ascii_uppercase() || byte == '_';
            names.extend(text.split("CARGO_BURST_").skip(1).map(|rest| {
                let end = rest.find(|byte| !is_of_name(byte)).unwrap_or(rest.len());
                format!("CARGO_BURST_{}", &rest[..end])
            }));
        }
    }
}

#[test]
fn the_variables_that_the_sources_name_are_known() {
    let mut names = Vec::new();
    names_in_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut names);
    assert!(names.contains(&"CARGO_BURST_GRACE_SECS".to_owned()), "{names:?}");
    let of_settings = keys().iter().map(|key| key.variable);
    let known: Vec<&str> =
        of_settings.chain(OTHER_VARIABLES.iter().map(|other| other.name)).collect();
    names.retain(|name| !known.contains(&name.as_str()) && name != "CARGO_BURST_A_KEY");
    assert_eq!(names, [""; 0]);
}
