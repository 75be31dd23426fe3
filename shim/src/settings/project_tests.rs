//! What a project file may set, with trust and without.

use std::fs;

use super::definition::keys;
use super::*;
use crate::error::ErrorKind;

/// A user config with a value for every setting that a project file may hold.
const OWN: &str = "\
region = ['hel1', 'fsn1']
server_type = ['cx53', 'cpx62']
keep_alive_secs = 300
keep_paid_hour = true
public_ipv4 = true
volume_keep_alive_secs = 3600
volume_gb = 200
monthly_budget = 40
max_run_secs = 100
max_day_secs = 1000
forward_env = ['MINE']
extra_excludes = ['*.bin', '!/mine']
unexclude = ['.vscode/']
forward_ports = 8080
include_paths = ['a']
";

/// Values of a project file that do not go beyond [`OWN`].
const WITHIN: [(&str, &str); 20] = [
    ("region", "['fsn1']"),
    ("server_type", "['cx53']"),
    ("keep_alive_secs", "0"),
    ("keep_alive_secs", "300"),
    ("reconnect_secs", "0"),
    ("keep_paid_hour", "true"),
    ("public_ipv4", "true"),
    ("volume_keep_alive_secs", "60"),
    ("volume_gb", "10"),
    ("monthly_budget", "20"),
    ("max_run_secs", "50"),
    ("max_day_secs", "1000"),
    ("forward_env", "['RUSTFLAGS', 'CARGO_TERM_COLOR', 'MINE']"),
    ("report_env", "['MY_MODE', '!RUST_LOG']"),
    ("forward_ports", "[8080]"),
    ("extra_excludes", "['/data', '!/mine']"),
    ("unexclude", "['.vscode/']"),
    ("fetch", "'artifacts'"),
    ("include_paths", "['a']"),
    ("compression", "'always'"),
];

/// Values that need trust, with the request.
const BEYOND: [(&str, &str, &str); 14] = [
    ("region", "['fsn1', 'ash']", "region = [\"ash\"]  # yours: [\"hel1\", \"fsn1\"]"),
    ("server_type", "'cpx62'", "server_type = [\"cpx62\"]  # yours: [\"cx53\", \"cpx62\"]"),
    ("keep_alive_secs", "301", "keep_alive_secs = 301  # yours: 300"),
    ("reconnect_secs", "121", "reconnect_secs = 121  # yours: 120"),
    ("keep_paid_hour", "false", "keep_paid_hour = false  # yours: true"),
    ("public_ipv4", "false", "public_ipv4 = false  # yours: true"),
    ("volume_keep_alive_secs", "3601", "volume_keep_alive_secs = 3601  # yours: 3600"),
    ("volume_gb", "201", "volume_gb = 201  # yours: 200"),
    (
        "forward_env",
        "['RUST_LOG', 'CARGO_REGISTRY_TOKEN', 'AWS_PROFILE']",
        "forward_env = [\"CARGO_REGISTRY_TOKEN\", \"AWS_PROFILE\"]  # yours: [\"MINE\"]",
    ),
    (
        "forward_ports",
        "['8080', 8081, '80:8080']",
        "forward_ports = [\"8081\", \"80:8080\"]  # yours: [\"8080\"]",
    ),
    (
        "extra_excludes",
        "['/data', '!.git/']",
        "extra_excludes = [\"!.git/\"]  # yours: [\"*.bin\", \"!/mine\"]",
    ),
    ("fetch", "'all'", "fetch = \"all\"  # yours: \"artifacts\""),
    ("unexclude", "'.git'", "unexclude = [\".git\"]  # yours: [\".vscode/\"]"),
    ("include_paths", "['~/.ssh', 'a']", "include_paths = [\"~/.ssh\"]  # yours: [\"a\"]"),
];

/// Values that raise a limit.
const RAISED: [(&str, &str); 3] =
    [("monthly_budget", "40.01"), ("max_run_secs", "101"), ("max_day_secs", "1001")];

/// Settings that no project file may hold.
const REFUSED: [&str; 5] = [
    "hetzner_token",
    "hetzner_endpoint",
    "dead_man_switch",
    "local_disk_gb",
    "trusted_directories",
];

/// [`OWN`] below a project file with these contents.
fn with(project: &str, is_trusted: bool) -> Result<Settings, Error> {
    let (user, path) = (Path::new("u.toml"), Path::new("p.toml"));
    let layers = [
        Layer::parse(Origin::User(user.into()), user, OWN, keys())?,
        Layer::parse(Origin::Project(path.into()), path, project, keys())?,
    ];
    Settings::resolve(&layers, is_trusted)
}

fn effective<'s>(settings: &'s Settings, key: &str) -> &'s Effective {
    settings.effective.iter().find(|one| one.key == key).unwrap()
}

/// The value of a setting in TOML, as a list if the setting is one.
fn shown(key: &str, value: &str) -> Shown {
    let settings = Settings::resolve(
        &[Layer::parse(
            Origin::User("x".into()),
            Path::new("x"),
            &format!("{key} = {value}"),
            keys(),
        )
        .unwrap()],
        false,
    );
    effective(&settings.unwrap(), key).shown.clone()
}

#[test]
fn every_setting_is_decided_about() {
    let within = WITHIN.iter().map(|(key, _)| *key);
    let known: Vec<&str> = within.chain(REFUSED).collect();
    let missing: Vec<&str> =
        keys().iter().map(|key| key.name).filter(|name| !known.contains(name)).collect();
    assert_eq!(missing, [""; 0]);
    // Of those, only these may have any value: they cost and send nothing.
    let limited = BEYOND.iter().map(|(key, ..)| *key).chain(RAISED.map(|(key, _)| key));
    let limited: Vec<&str> = limited.chain(REFUSED).collect();
    let free: Vec<&str> =
        keys().iter().map(|key| key.name).filter(|name| !limited.contains(name)).collect();
    assert_eq!(free, ["report_env", "compression"]);
}

#[test]
fn values_within_the_users_own_need_no_trust() {
    for (key, value) in WITHIN {
        let settings = with(&format!("{key} = {value}"), false).unwrap();
        assert_eq!(settings.requests, [], "{key} = {value}");
        let one = effective(&settings, key);
        assert_eq!(one.withheld, None, "{key} = {value}");
        assert_eq!(one.origins.last(), Some(&Origin::Project("p.toml".into())), "{key} = {value}");
    }
}

#[test]
fn values_beyond_the_users_own_hold_only_with_trust() {
    let own = with("", false).unwrap();
    for (key, value, request) in BEYOND {
        let text = format!("{key} = {value}");
        let settings = with(&text, false).unwrap();
        let requests: Vec<String> = settings.requests.iter().map(ToString::to_string).collect();
        assert_eq!(requests, [request]);
        let trusted = with(&text, true).unwrap();
        assert_eq!(trusted.requests, settings.requests, "{text}");
        let (one, trusted) = (effective(&settings, key), effective(&trusted, key));
        let withheld = Withheld {
            shown: trusted.shown.clone(),
            path: "p.toml".into(),
            reason: Reason::Untrusted,
        };
        let expected = Effective { withheld: Some(withheld), ..effective(&own, key).clone() };
        assert_eq!(*one, expected, "{text}");
        assert_eq!(trusted.withheld, None, "{text}");
        assert_ne!(trusted.shown, one.shown, "{text}");
    }
}

#[test]
fn a_limit_is_raised_not_even_with_trust() {
    for (key, value) in RAISED {
        for is_trusted in [false, true] {
            let settings = with(&format!("{key} = {value}"), is_trusted).unwrap();
            assert_eq!((settings.requests.len(), settings.monthly_budget), (0, Some(40.0)));
            assert_eq!((settings.max_run_secs, settings.max_day_secs), (Some(100), Some(1000)));
            let reason = Reason::Limit;
            let withheld = Withheld { shown: shown(key, value), path: "p.toml".into(), reason };
            assert_eq!(effective(&settings, key).withheld, Some(withheld));
        }
    }
}

#[test]
fn settings_of_the_user_are_refused_even_with_trust() {
    for key in REFUSED {
        let error = with(&format!("{key} = 'x'"), true).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("p.toml:1: `{key}` is not allowed in a project file, only in your user config")
        );
    }
}

#[test]
fn a_value_that_a_variable_replaces_needs_no_trust() {
    let (user, path) = (Path::new("u.toml"), Path::new("p.toml"));
    let text = "volume_gb = 500\nserver_type = 'ccx63'\nforward_env = ['A']\nmonthly_budget = 99";
    let mut layers = vec![
        Layer::parse(Origin::User(user.into()), user, OWN, keys()).unwrap(),
        Layer::parse(Origin::Project(path.into()), path, text, keys()).unwrap(),
    ];
    let variables = [
        ("CARGO_BURST_VOLUME_GB", "50"),
        ("CARGO_BURST_SERVER_TYPE", "cx53"),
        ("CARGO_BURST_FORWARD_ENV", "A"),
        ("CARGO_BURST_MONTHLY_BUDGET", "80"),
    ];
    layers
        .extend(Layer::environment(variables.map(|(n, v)| (n.into(), v.into())), keys()).unwrap());
    let settings = Settings::resolve(&layers, false).unwrap();
    assert_eq!(settings.requests, []);
    assert!(settings.effective.iter().all(|one| one.withheld.is_none()));
    assert_eq!((settings.volume_gb, settings.monthly_budget), (50, Some(80.0)));
    assert_eq!(settings.server_type, ["cx53"]);
    assert_eq!(settings.forward_env, ["MINE", "A"]);
}

/// A user's directories and a workspace with a project file.
struct Place(tempfile::TempDir);

impl Place {
    fn new(user: &str, project: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let file = user_file(place.0.path());
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, user).unwrap();
        fs::create_dir_all(place.file().parent().unwrap()).unwrap();
        place.write(project);
        place
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("app")
    }

    fn file(&self) -> PathBuf {
        self.root().join(PROJECT_FILE)
    }

    fn write(&self, project: &str) {
        fs::write(self.file(), project).unwrap();
    }

    fn trust(&self) -> TrustStore {
        TrustStore::new(self.0.path().join("trust"), Some(self.0.path().to_owned()))
    }

    fn load(&self) -> Settings {
        let (root, trust) = (&self.root(), &self.trust());
        Settings::load(self.0.path(), Some(Project { root, trust }), []).unwrap()
    }
}

#[test]
fn trust_ends_when_the_content_changes() {
    let place = Place::new("", "volume_gb = 500\n");
    let path = place.file();
    let path = path.display();
    let refused = |state: &str, asked: &str| {
        let error = place.load().check_trust().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Untrusted);
        assert_eq!(
            error.to_string(),
            format!("`{path}` asks for more than your own settings and {state}")
        );
        assert_eq!(error.causes(), [asked]);
        assert_eq!(error.hint(), "read the file; `cargo burst trust` allows this content of it");
    };
    refused("is not trusted", "volume_gb = 500  # yours: 200");
    assert_eq!(place.load().volume_gb, 200);
    place.trust().record(&place.load().project().unwrap().content).unwrap();
    place.load().check_trust().unwrap();
    assert_eq!(place.load().volume_gb, 500);
    // As a build might write it.
    place.write("volume_gb = 501\n");
    refused("has changed since you trusted it", "volume_gb = 501  # yours: 200");
    place.write("volume_gb = 100\n");
    place.load().check_trust().unwrap();
    assert_eq!(place.load().volume_gb, 100);
    place.write("volume_gb = 500\n");
    place.load().check_trust().unwrap();
}

#[test]
fn the_users_trusted_directories_hold_whatever_the_content() {
    let place = Place::new("trusted_directories = ['~/app']", "volume_gb = 500\n");
    assert_eq!((place.load().volume_gb, place.load().requests().len()), (500, 1));
    place.load().check_trust().unwrap();
    let elsewhere = Place::new("trusted_directories = ['~/other']", "volume_gb = 500\n");
    assert!(elsewhere.load().check_trust().is_err());
}
