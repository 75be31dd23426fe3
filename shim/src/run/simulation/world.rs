//! One world: a workspace with a user who edits and runs commands, a network, and an agent that
//! can be killed. A seed decides all of it.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use burst_agent::identity;
use burst_agent::project_key;
use burst_agent::simulation::{Call, SimulatedAgent};
use burst_agent::transport::IdleTimeout;
use burst_protocol::message::Ending;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::command::{Command, Place};
use super::disk::{self, Disk, Fault};
use super::journal::{Entry, Journal};
use super::keys::Keys;
use super::network::{Event, Network, Weather};
use super::program::{Program, SHARED, UNIQUE, sources};
use super::{stillness, verdict};

/// How long a command may take, in simulated time, until it counts as hanging.
const COMMAND_DEADLINE: Duration = Duration::from_secs(1800);

/// What is decided before a world begins.
#[derive(Clone, Debug)]
struct Fate {
    weather: Weather,
    events: BTreeMap<u64, Event>,
    /// After how many changes of a disk one goes wrong.
    fault: Option<(u64, Fault)>,
    /// How many rounds of edits and commands there are.
    rounds: u32,
    /// Whether anything goes wrong at all.
    is_calm: bool,
}

impl Fate {
    /// Of every eighth seed nothing goes wrong. The process is killed once at most.
    fn of(seed: u64, random: &mut fastrand::Rng, was_killed: bool) -> Self {
        let is_calm = seed.is_multiple_of(8);
        let mut fate = Self {
            weather: Weather::GOOD,
            events: BTreeMap::new(),
            fault: None,
            rounds: random.u32(1..5),
            is_calm,
        };
        if is_calm {
            return fate;
        }
        let slow = random.u64(1..60);
        fate.weather = Weather {
            delay: random.u64(1..=slow)..slow + 1,
            loss: [0.0, 0.01, 0.05, 0.2][random.usize(0..4)],
            repeated: [0.0, 0.02, 0.1][random.usize(0..3)],
        };
        for _ in 0..random.u8(0..4) {
            // As often among the first ten datagrams as among the next ninety.
            let number = 10_f64.powf(random.f64() * 2.7) as u64;
            let event = match random.u8(0..8) {
                0 if !was_killed => Event::KillAll,
                1 | 2 => Event::KillAgent,
                3 | 4 => Event::Rebind,
                _ => Event::CutClient,
            };
            fate.events.insert(number, event);
        }
        // A round changes disks a few hundred times.
        let changes = 10_f64.powf(random.f64() * 3.2) as u64;
        fate.fault = match random.u8(0..6) {
            0 if !was_killed => Some((changes, Fault::Kills)),
            1 | 2 => Some((changes, Fault::Fails)),
            _ => None,
        };
        fate
    }
}

/// One world.
pub(super) struct World {
    seed: u64,
    random: fastrand::Rng,
    place: Arc<Place>,
    keys: Arc<Keys>,
    network: Network,
    happened: UnboundedReceiver<Event>,
    journal: Arc<Journal>,
    agent: Option<SimulatedAgent>,
    /// Where the agent that is alive is reached.
    agent_address: Arc<Mutex<SocketAddr>>,
    /// The number of the agent that is alive; its disk has it in its name.
    alive: Arc<AtomicU32>,
    succeeds_from: Arc<AtomicU32>,
    next_command: u32,
    next_edit: u32,
    fate: Fate,
}

/// A command that was started.
struct Begun {
    command: u32,
    ended: oneshot::Receiver<Result<i32, String>>,
}

impl World {
    /// Makes the world of a seed, or finds what is left of it after the process was killed.
    pub(super) fn new(seed: u64, place: Arc<Place>, keys: Arc<Keys>) -> Self {
        let was_killed = place.journal().exists();
        let mut random = fastrand::Rng::with_seed(seed ^ if was_killed { 1 << 40 } else { 0 });
        let fate = Fate::of(seed, &mut random, was_killed);
        let (happen, happened) = unbounded_channel();
        let network =
            Network::new(random.u64(..), fate.weather.clone(), fate.events.clone(), happen);
        let journal = Arc::new(Journal::open(&place.journal()));
        let entries = journal.entries();
        let began = entries.iter().filter(|entry| matches!(entry, Entry::Began { .. })).count();
        let alive = place.agents().max().unwrap_or(0);
        let mut world = Self {
            seed,
            random,
            place,
            keys,
            network,
            happened,
            journal,
            agent: None,
            agent_address: Arc::new(Mutex::new(([0, 0, 0, 0], 0).into())),
            alive: Arc::new(AtomicU32::new(alive)),
            succeeds_from: Arc::new(AtomicU32::new(u32::MAX)),
            next_command: u32::try_from(began).unwrap(),
            next_edit: u32::try_from(entries.len()).unwrap(),
            fate,
        };
        if !was_killed {
            world.place.populate(&mut world.random);
            world.edit("src/lib.rs", Some("// edited\n".to_owned()));
        }
        world.place.prepared();
        disk::break_after(world.fate.fault);
        world.start_agent();
        world
    }

    /// The whole story, from the first edit to the verdict. Returns the errors of commands that
    /// have failed.
    ///
    /// # Panics
    ///
    /// If something that must hold does not.
    pub(super) async fn run(mut self) -> Vec<String> {
        for _ in 0..self.fate.rounds {
            for _ in 0..self.random.u8(0..3) {
                self.edit_something();
            }
            let count = if self.random.u8(0..5) == 0 { 2 } else { 1 };
            let mut begun = vec![self.begin()];
            while begun.len() < count {
                // Two commands that start at the same instant would be ordered by the kernel.
                let later = Duration::from_millis(self.random.u64(1..2000));
                tokio::time::sleep(later).await;
                begun.push(self.begin());
            }
            self.wait_for(begun, true).await;
        }
        self.end().await;
        let error = |entry: Entry| match entry {
            Entry::Done { ended, .. } => ended.err(),
            _ => None,
        };
        self.journal.entries().into_iter().filter_map(error).collect()
    }

    /// One last command without any trouble, and the verdict.
    async fn end(&mut self) {
        self.network.forget_events();
        disk::break_after(None);
        self.network.set_weather(Weather::GOOD);
        self.place.disks().iter().for_each(Disk::empty);
        // An agent may have been killed by the last datagram.
        self.replace_killed_agents();
        self.succeeds_from.store(self.next_command, Ordering::Relaxed);
        let last = self.begin();
        let command = last.command;
        self.wait_for(vec![last], false).await;
        let entries = self.journal.entries();
        let done = Entry::Done { command, ended: Ok(0) };
        assert!(entries.contains(&done), "the undisturbed command: {:?}", entries.last());
        if self.fate.is_calm {
            let failed = |entry: &&Entry| matches!(entry, Entry::Done { ended: Err(_), .. });
            assert_eq!(entries.iter().find(failed), None, "nothing was wrong");
        }
        if self.alive.load(Ordering::Relaxed) == 0 {
            // Whatever the network did, it was for less than the grace time.
            let lost = |entry: &&Entry| matches!(entry, Entry::Done { ended: Err(error), .. } if error.contains("was lost"));
            assert_eq!(entries.iter().find(lost), None, "no agent has died");
        }
        if let Some(agent) = self.agent.take() {
            let ended = tokio::time::timeout(COMMAND_DEADLINE, agent.end()).await;
            assert!(ended.is_ok(), "a session of the agent hangs");
        }
        let root = self.place.workspace();
        let name = crate::workspace::sources::below_root(&root).unwrap();
        let project = self.place.agent(self.alive.load(Ordering::Relaxed));
        let copy = project.join("projects").join(project_key(&name)).join("tree");
        verdict::check(&root, &name.in_directory(&copy), &entries, &self.place.printed());
    }

    fn start_agent(&mut self) {
        let config = identity::server_config(
            &self.keys.agent,
            self.keys.shim.certificate().clone(),
            IdleTimeout::default(),
        );
        let (endpoint, address) = self.network.endpoint(Some(config.unwrap())).unwrap();
        let number = self.alive.load(Ordering::Relaxed);
        let program = Program {
            seed: self.seed,
            journal: self.journal.clone(),
            agent: number,
            alive: self.alive.clone(),
            succeeds_from: self.succeeds_from.clone(),
        };
        let run = move |call: Call| -> burst_agent::simulation::Doing {
            Box::pin(program.clone().run(call))
        };
        let disk = self.place.agent(number);
        let agent = SimulatedAgent::start(&disk, endpoint, IdleTimeout::default(), run);
        self.agent = Some(agent.unwrap());
        *self.agent_address.lock().unwrap() = address;
    }

    /// Replaces the agent that the network has cut off by another one, with a copy of its disk.
    fn replace_killed_agents(&mut self) {
        while let Ok(event) = self.happened.try_recv() {
            assert_eq!(event, Event::KillAgent);
            self.replace_agent();
        }
    }

    fn replace_agent(&mut self) {
        // No thread is in the middle of a write now, and none can go on before this returns.
        stillness::wait();
        // The copy needs room.
        self.place.disks().iter().for_each(Disk::empty);
        let number = self.alive.fetch_add(1, Ordering::Relaxed);
        self.place.copy_agent(number);
        if let Some(dead) = self.agent.take() {
            tokio::spawn(dead.end());
        }
        self.start_agent();
    }

    /// Starts a command on a thread of its own.
    fn begin(&mut self) -> Begun {
        let number = self.next_command;
        self.next_command += 1;
        self.journal.add(Entry::Began { command: number });
        let command = Command {
            number,
            place: self.place.clone(),
            keys: self.keys.clone(),
            network: self.network.clone(),
            agent: self.agent_address.clone(),
            runtime: Handle::current(),
        };
        let (send, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let ended = match command.run() {
                Ok(Ending::Exited(code)) => Ok(code),
                Ok(Ending::Signaled(signal)) => Err(format!("signal {signal}")),
                Err(error) => Err(error.one_line()),
            };
            send.send(ended).unwrap();
        });
        Begun { command: number, ended }
    }

    /// Waits until commands have ended; meanwhile there may be trouble.
    async fn wait_for(&mut self, begun: Vec<Begun>, troubled: bool) {
        let deadline = Instant::now() + COMMAND_DEADLINE;
        let mut trouble = self.next_trouble(troubled);
        for Begun { command, mut ended } in begun {
            let ended = loop {
                tokio::select! {
                    biased;
                    ended = &mut ended => break ended.unwrap(),
                    Some(event) = self.happened.recv() => {
                        assert_eq!(event, Event::KillAgent);
                        self.replace_agent();
                    }
                    () = tokio::time::sleep_until(trouble) => {
                        self.make_trouble();
                        trouble = self.next_trouble(troubled);
                    }
                    () = tokio::time::sleep_until(deadline) => panic!("{command} hangs"),
                }
            };
            self.journal.add(Entry::Done { command, ended });
        }
    }

    fn next_trouble(&mut self, troubled: bool) -> Instant {
        let wait = match troubled && self.random.bool() {
            true => self.random.u64(1..20_000),
            false => 1 << 30,
        };
        Instant::now() + Duration::from_millis(wait)
    }

    /// What happens while commands run.
    fn make_trouble(&mut self) {
        let choice = self.random.u8(0..10);
        let duration = Duration::from_millis(self.random.u64(100..40_000));
        let disk = self.random.usize(0..2);
        match choice {
            _ if self.fate.is_calm => self.edit_something(),
            0..4 => self.network.darken(duration),
            4..6 => {
                if let Some(disk) = self.place.disks().get(disk).cloned() {
                    disk.fill(self.random.u64(0..64) << 10);
                    tokio::spawn(async move {
                        tokio::time::sleep(duration).await;
                        disk.empty();
                    });
                }
            }
            _ => self.edit_something(),
        }
    }

    fn edit_something(&mut self) {
        let content =
            Some(format!("// edit {}\n", self.next_edit).repeat(self.random.usize(1..3000)));
        let number = self.random.u8(0..6);
        match self.random.u8(0..6) {
            0 => self.edit(SHARED, Some(format!("edit {}\n", self.next_edit))),
            1 if number > 0 => self.edit(&format!("src/m{number}.rs"), None),
            2 => self.undo_something(),
            _ => self.edit(&format!("src/m{number}.rs"), content),
        }
    }

    /// Removes a file that a run has made and that is here.
    fn undo_something(&mut self) {
        let directory = UNIQUE[self.random.usize(0..UNIQUE.len())];
        let entries = fs::read_dir(self.place.workspace().join(directory)).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        if !names.is_empty() {
            let name = &names[self.random.usize(0..names.len())];
            self.edit(&format!("{directory}/{name}"), None);
        }
    }

    /// Edits or removes a file as an editor does; a full disk leaves it as it is.
    fn edit(&mut self, path: &str, content: Option<String>) {
        self.next_edit += 1;
        let root = self.place.workspace();
        let file = root.join(path);
        let done = match &content {
            Some(content) => replace(&file, content),
            None => fs::remove_file(&file),
        };
        if done.is_ok() {
            let (path, sources) = (path.to_owned(), sources(&root));
            self.journal.add(Entry::Edited { path, content, sources });
        }
    }
}

/// Replaces a file whole.
fn replace(path: &Path, content: &str) -> std::io::Result<()> {
    let parent: PathBuf = path.parent().unwrap().to_owned();
    let mut file = tempfile::NamedTempFile::new_in(parent.parent().unwrap().join("editor"))?;
    std::io::Write::write_all(&mut file, content.as_bytes())?;
    file.persist(path).map(drop).map_err(|error| error.error)
}
