//! The hosts of the simulator: addresses of both families, firewalls, restarts. What is not
//! allowed is tried together with what is, which passes.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use burst_tests::{pass_time, wait_until};
use hetzner_sim::simulator::{ByHand, lock};
use hetzner_sim::{Scenario, Simulator};
use serde_json::{Value, json};

use crate::hetzner::{cloud, sandbox_on};

/// Makes a request of the API that must succeed; returns the body.
#[track_caller]
fn ok(simulator: &Simulator, method: &str, path: &str, body: &Value) -> Value {
    let (status, answer) = simulator.request(method, &format!("/v1{path}"), body);
    assert!(status < 300, "{method} {path}: {status} {answer}");
    answer
}

/// Creates a server, with more fields, and waits until nothing locks it; returns its id.
fn server(simulator: &Simulator, more: &Value) -> u64 {
    let mut body = json!({ "name": "s", "server_type": "cx53", "image": "debian-12" });
    for (field, value) in more.as_object().unwrap() {
        body[field] = value.clone();
    }
    let created = ok(simulator, "POST", "/servers", &body);
    let next = created["next_actions"].as_array().unwrap();
    for action in [&created["action"]].into_iter().chain(next) {
        let path = format!("/actions/{}", action["id"]);
        wait_until("the action", || {
            ok(simulator, "GET", &path, &Value::Null)["action"]["status"] == "success"
        });
    }
    created["server"]["id"].as_u64().unwrap()
}

/// The address of a server's host, by the API.
fn address(simulator: &Simulator, server: u64, family: &str) -> IpAddr {
    let shown = ok(simulator, "GET", &format!("/servers/{server}"), &Value::Null);
    let ip = shown["server"]["public_net"][family]["ip"].as_str().unwrap();
    ip.replace("::/64", "::1").parse().unwrap()
}

/// Runs a shell command in the network of a host.
fn on_host(simulator: &Simulator, server: u64, script: &str) -> String {
    let namespace = simulator.shared().hosts().unwrap().namespace_of(server).unwrap();
    let output = Command::new("ip")
        .args(["netns", "exec", &namespace, "bash", "-c", script])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn has_ipv6() -> bool {
    std::path::Path::new("/proc/net/if_inet6").exists()
}

#[test]
fn a_host_has_ipv6_alone_or_beside_ipv4() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let both = server(&simulator, &json!({}));
    let alone = json!({ "name": "t", "public_net": { "enable_ipv4": false }, "user_data": "told" });
    let alone = server(&simulator, &alone);
    let hosts = simulator.shared().hosts().unwrap();
    let families: &[(u64, &str)] = match has_ipv6() {
        true => &[(both, "ipv4"), (both, "ipv6"), (alone, "ipv6")],
        false => &[(both, "ipv4")],
    };
    for (server, family) in families {
        let listener = hosts.listen(*server, 8080).unwrap();
        let to = SocketAddr::new(address(&simulator, *server, family), 8080);
        TcpStream::connect(to).unwrap().write_all(b"hello").unwrap();
        let mut said = String::new();
        listener.accept().unwrap().0.read_to_string(&mut said).unwrap();
        assert_eq!(said, "hello", "{family}");
    }
    assert!(on_host(&simulator, both, "ip -4 route").contains("default"));
    assert_eq!(on_host(&simulator, alone, "ip -4 route"), "");
    // The metadata service is at its IPv4 address all the same.
    let ask = "exec 3<>/dev/tcp/169.254.169.254/80 && printf \
               'GET /hetzner/v1/userdata HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n' >&3 && cat <&3";
    wait_until("the metadata service", || on_host(&simulator, alone, ask).ends_with("told"));
}

#[test]
fn an_address_is_taken_from_a_host_and_given_back() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let id = server(&simulator, &json!({ "start_after_create": false }));
    let path = format!("/servers/{id}");
    let shown = || ok(&simulator, "GET", &path, &Value::Null)["server"].clone();
    wait_until("a server that is off", || shown()["status"] == "off");
    let address = shown()["public_net"]["ipv4"].clone();
    let on_interface = || on_host(&simulator, id, "ip -4 -brief address show dev eth0");
    let act = |verb: &str, body: &Value| {
        let path = format!("/primary_ips/{}/actions/{verb}", address["id"]);
        ok(&simulator, "POST", &path, body);
    };
    let ip = address["ip"].as_str().unwrap();
    assert!(on_interface().contains(ip));
    act("unassign", &Value::Null);
    wait_until("an interface without the address", || !on_interface().contains(ip));
    wait_until("the end of the action", || shown()["locked"] == false);
    act("assign", &json!({ "assignee_id": id, "assignee_type": "server" }));
    wait_until("an interface with the address", || on_interface().contains(ip));
}

/// Sends to a port of a host, by UDP.
fn send(from: &UdpSocket, to: IpAddr, port: u16) {
    from.send_to(&port.to_be_bytes(), (to, port)).unwrap();
}

#[test]
fn firewalls_filter_tcp_and_udp() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let rule = |protocol: &str, port: &str| {
        let all = json!(["0.0.0.0/0", "::/0"]);
        json!({ "direction": "in", "protocol": protocol, "port": port, "source_ips": all })
    };
    let rules = json!([rule("tcp", "8000-8001"), rule("udp", "8001")]);
    let selected = json!({ "type": "label_selector", "label_selector": { "selector": "walled" } });
    let body = json!({ "name": "f", "rules": rules, "apply_to": [selected] });
    let firewall = ok(&simulator, "POST", "/firewalls", &body)["firewall"]["id"].clone();
    let server = server(&simulator, &json!({ "labels": { "walled": "" } }));
    let hosts = simulator.shared().hosts().unwrap();
    let tcp = [8000, 8002].map(|port| hosts.listen(server, port).unwrap());
    let udp = [8000, 8001].map(|port| hosts.receive(server, port).unwrap());
    tcp.iter().for_each(|one| one.set_nonblocking(true).unwrap());
    let arrived = |socket: &UdpSocket| socket.recv(&mut [0; 8]).map_err(|error| error.kind());
    let families: &[&str] = if has_ipv6() { &["ipv4", "ipv6"] } else { &["ipv4"] };
    for family in families {
        let host = address(&simulator, server, family);
        let from = UdpSocket::bind(if host.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
        // A packet that comes later overtakes none that came before.
        send(&from, host, 8000);
        send(&from, host, 8001);
        udp[0].set_nonblocking(true).unwrap();
        assert_eq!(arrived(&udp[1]), Ok(2), "{family}");
        assert_eq!(arrived(&udp[0]), Err(ErrorKind::WouldBlock), "{family}");
        let soon = Duration::from_millis(200);
        let denied = TcpStream::connect_timeout(&SocketAddr::new(host, 8002), soon);
        assert_eq!(denied.unwrap_err().kind(), ErrorKind::TimedOut, "{family}");
        let allowed = TcpStream::connect(SocketAddr::new(host, 8000)).unwrap();
        assert_eq!(tcp[1].accept().unwrap_err().kind(), ErrorKind::WouldBlock, "{family}");
        wait_until("a connection", || tcp[0].accept().is_ok());
        drop(allowed);
        // Other rules count at once, and without the firewall everything passes.
        let set = format!("/firewalls/{firewall}/actions/set_rules");
        ok(&simulator, "POST", &set, &json!({ "rules": [rule("udp", "8000")] }));
        send(&from, host, 8001);
        send(&from, host, 8000);
        udp[0].set_nonblocking(false).unwrap();
        assert_eq!(arrived(&udp[0]), Ok(2), "{family}");
        udp[1].set_nonblocking(true).unwrap();
        assert_eq!(arrived(&udp[1]), Err(ErrorKind::WouldBlock), "{family}");
        udp[1].set_nonblocking(false).unwrap();
        let labels = |labels: Value| {
            ok(&simulator, "PUT", &format!("/servers/{server}"), &json!({ "labels": labels }));
        };
        labels(json!({}));
        TcpStream::connect(SocketAddr::new(host, 8002)).unwrap();
        wait_until("a connection", || tcp[1].accept().is_ok());
        labels(json!({ "walled": "" }));
        ok(&simulator, "POST", &set, &json!({ "rules": rules }));
    }
}

/// The processes of agents on a host.
fn agents(simulator: &Simulator, server: u64) -> Vec<i32> {
    let namespace = simulator.shared().hosts().unwrap().namespace_of(server).unwrap();
    let output = Command::new("ip").args(["netns", "pids", &namespace]).output().unwrap();
    let processes = String::from_utf8(output.stdout).unwrap();
    let is_agent = |process: &i32| {
        let words = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        words.starts_with(b"burst-agent\0")
    };
    processes.split_whitespace().map(|process| process.parse().unwrap()).filter(is_agent).collect()
}

/// Waits until the agent of a host is another process than `before`; returns it.
fn another_agent(simulator: &Simulator, server: u64, before: i32) -> i32 {
    let mut found = None;
    wait_until("another agent", || {
        found = agents(simulator, server).into_iter().find(|process| *process != before);
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn hosts_restart_and_keep_their_disk_until_they_are_rebuilt() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let id = server(&simulator, &json!({ "image": 1001 }));
    let hosts = simulator.shared().hosts().unwrap();
    let mut agent = another_agent(&simulator, id, 0);
    let mark = hosts.files_of(id).join("var/mark");
    std::fs::create_dir_all(mark.parent().unwrap()).unwrap();
    std::fs::write(&mark, "").unwrap();
    let act = |verb: &str, body: &Value| {
        ok(&simulator, "POST", &format!("/servers/{id}/actions/{verb}"), body);
        wait_until("the end of the action", || {
            let path = format!("/servers/{id}/actions?status=running");
            ok(&simulator, "GET", &path, &Value::Null)["actions"] == json!([])
        });
    };
    for verb in ["reset", "reboot"] {
        act(verb, &Value::Null);
        agent = another_agent(&simulator, id, agent);
        assert!(mark.exists(), "{verb}");
    }
    act("rebuild", &json!({ "image": 1001 }));
    wait_until("an empty disk", || !mark.exists());
    another_agent(&simulator, id, agent);
    // The rescue system runs no agent.
    act("enable_rescue", &json!({}));
    act("poweroff", &Value::Null);
    act("poweron", &Value::Null);
    wait_until("a host without an agent", || hosts.log_of(id).ends_with("no agent\n"));
    assert_eq!(agents(&simulator, id), Vec::<i32>::new());
    act("reset", &Value::Null);
    another_agent(&simulator, id, 0);
}

/// The script mounts the volume in a mount namespace of its own, and writes until that fails.
#[test]
fn a_volume_that_is_pulled_out_fails() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let id = server(&simulator, &json!({}));
    let wanted = json!({ "name": "v", "size": 10, "server": id });
    let volume = ok(&simulator, "POST", "/volumes", &wanted)["volume"]["id"].as_u64().unwrap();
    let hosts = simulator.shared().hosts().unwrap();
    let devices = hosts.files_of(id).with_file_name("dev");
    let disk = devices.join(format!("disk/by-id/scsi-0HC_Volume_{volume}"));
    wait_until("the disk", || disk.exists());
    let script = format!(
        "mkfs.ext4 -q {0} && mount -t ext4 {0} /mnt && echo mounted && \
         while echo more >>/mnt/file; do sleep 0.01; done; echo failed",
        disk.display()
    );
    let namespace = hosts.namespace_of(id).unwrap();
    let mut writer = Command::new("ip")
        .args([
            "netns", "exec", &namespace, "unshare", "--mount", "timeout", "60", "sh", "-c", &script,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "mounted");
    simulator.shared().by_hand(ByHand::DetachVolume, volume).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "failed");
    assert!(writer.wait().unwrap().success());
}

/// Two machines with the same token: each keeper deletes what is its own, in time for the bill.
#[test]
fn time_that_passes_reaches_every_keeper() {
    let Some(simulator) = cloud(Scenario::default()) else { return };
    let machine = || sandbox_on(&simulator).with("CARGO_BURST_VOLUME_KEEP_ALIVE_SECS", "7200");
    let sandboxes = [machine(), machine()];
    for sandbox in &sandboxes {
        sandbox.hello("app").ok("sync");
    }
    let count = || {
        let world = lock(&simulator.shared().world);
        (world.servers.len(), world.volumes.len())
    };
    let pass = |secs: i64| pass_time(&simulator, &[&sandboxes[0], &sandboxes[1]], secs);
    pass(1800);
    assert_eq!(count(), (2, 2));
    pass(3600);
    assert_eq!(count(), (0, 2));
    assert_eq!(simulator.shared().ledger().1.server_hours, 2);
    pass(3600);
    assert_eq!(count(), (0, 0));
}
