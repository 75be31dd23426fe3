//! What the keeper holds while it runs: accounts, connections that commands use, and the
//! count of its sessions. All of it is lost with the process, but for what accounts are known to
//! have.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::holdings::Holdings;
use super::message::KeeperSummary;
use crate::connection::server::ServerConnection;
use crate::error::Error;
use crate::hetzner::account::Account;
use crate::hetzner::credentials::{AccountName, Credentials};
use crate::hetzner::holding::Holding;

/// What the keeper holds.
#[derive(Debug)]
pub(super) struct State {
    /// The state directory of accounts.
    directory: PathBuf,
    accounts: Mutex<Vec<KeptAccount>>,
    /// Held while a token that no account has is looked at.
    arrival: tokio::sync::Mutex<()>,
    /// What is written down, and where.
    holdings: Mutex<Holdings>,
    holdings_path: PathBuf,
    connections: Mutex<Connections>,
    sessions: Mutex<Sessions>,
    started: Instant,
    /// A session has ended, or has changed what exists.
    pub(super) changed: Notify,
    /// A command of another version has asked this keeper to exit.
    pub(super) leave: Notify,
}

#[derive(Clone, Debug)]
struct KeptAccount {
    /// The name of the credentials of its first command, or that under which it is written down.
    name: AccountName,
    account: Arc<Account>,
    /// The names of its other tokens.
    aliases: Vec<AccountName>,
    /// Whether it is known not to be of the same project as another one.
    is_decided: bool,
}

#[derive(Debug, Default)]
struct Connections {
    by_ticket: BTreeMap<u64, Arc<ServerConnection>>,
    last_ticket: u64,
}

#[derive(Debug)]
struct Sessions {
    open: usize,
    /// How many there have been.
    count: u64,
    /// When `open` changed last.
    since: Instant,
}

/// One open session. It ends when this is dropped.
pub(super) struct OpenSession {
    state: Arc<State>,
    /// The number of the session in the log, from 1.
    pub(super) number: u64,
}

/// A connection that streams can be opened on, by its ticket, until this is dropped.
pub(super) struct Offered<'a> {
    state: &'a State,
    /// The ticket.
    pub(super) ticket: u64,
}

impl State {
    /// A state without accounts, which are to be below `directory`. What earlier keepers have
    /// written down is at `holdings_path`.
    pub(super) fn new(directory: PathBuf, holdings_path: PathBuf) -> Self {
        Self {
            directory,
            accounts: Mutex::default(),
            arrival: tokio::sync::Mutex::default(),
            holdings: Mutex::new(Holdings::read(&holdings_path)),
            holdings_path,
            connections: Mutex::default(),
            sessions: Mutex::new(Sessions { open: 0, count: 0, since: Instant::now() }),
            started: Instant::now(),
            changed: Notify::new(),
            leave: Notify::new(),
        }
    }

    /// The account of these credentials. A new token of a Hetzner project that has an account
    /// here joins that one, so that both share its server and its uses. While the API cannot tell
    /// whether it is one, what the account is known to have is looked after, and no command uses it.
    pub(super) async fn account(&self, credentials: &Credentials) -> Result<Arc<Account>, Error> {
        if let Some(account) = self.known(credentials) {
            return Ok(account);
        }
        let _arrival = self.arrival.lock().await;
        if let Some(account) = self.known(credentials) {
            return Ok(account);
        }
        let own = credentials.account();
        let arrived = match self.undecided(&own) {
            Some(kept) => kept,
            None => self.newcomer(credentials)?,
        };
        let account = arrived.account.clone();
        let mut others = self.accounts();
        others.retain(|(_, other)| !Arc::ptr_eq(other, &account));
        let others = others.into_iter().map(|(_, other)| other).collect();
        let found = account.of_same_project(others).await;
        let is_decided = found.is_ok();
        if let Ok(Some(other)) = found {
            other.take_token(&account, credentials).await;
            self.note_alias(&other, own);
            self.dismiss(&arrived);
            return Ok(other);
        }
        if is_decided || account.holding().is_some() {
            self.keep(KeptAccount { is_decided, ..arrived });
        }
        found.map(|_| account)
    }

    /// Looks after what an account has, though no command uses it.
    pub(super) async fn watch(&self, credentials: &Credentials) -> Result<(), Error> {
        match self.account(credentials).await {
            Ok(account) => account.watch(),
            Err(error) if self.undecided(&credentials.account()).is_none() => return Err(error),
            Err(error) => tracing::warn!("{}", error.one_line()),
        }
        // The next command is told that a keeper looks after it.
        self.save();
        Ok(())
    }

    /// An account that is not here yet, with what earlier keepers have known of it.
    fn newcomer(&self, credentials: &Credentials) -> Result<KeptAccount, Error> {
        let account = Account::new(credentials, &self.directory)?;
        let (mut name, mut aliases) = (credentials.account(), Vec::new());
        if let Some((known, holding)) = lock(&self.holdings).entry(&name) {
            account.remember(holding.clone());
            (name, aliases) = (known.clone(), holding.aliases.clone());
        }
        Ok(KeptAccount { name, account, aliases, is_decided: false })
    }

    fn known(&self, credentials: &Credentials) -> Option<Arc<Account>> {
        let accounts = lock(&self.accounts);
        let mut decided = accounts.iter().filter(|kept| kept.is_decided);
        decided.find(|kept| kept.account.accepts(credentials)).map(|kept| kept.account.clone())
    }

    fn undecided(&self, name: &AccountName) -> Option<KeptAccount> {
        let accounts = lock(&self.accounts);
        let mut undecided = accounts.iter().filter(|kept| !kept.is_decided);
        undecided.find(|kept| kept.name == *name || kept.aliases.contains(name)).cloned()
    }

    /// Looks after an account, unless it is undecided and another one has its name: that one has
    /// had this token before.
    fn keep(&self, arrived: KeptAccount) {
        let mut accounts = lock(&self.accounts);
        accounts.retain(|kept| !Arc::ptr_eq(&kept.account, &arrived.account));
        if arrived.is_decided || accounts.iter().all(|kept| kept.name != arrived.name) {
            accounts.push(arrived);
        }
    }

    /// Another account has taken the token of this one, and looks after what it has.
    fn dismiss(&self, dismissed: &KeptAccount) {
        let KeptAccount { name, account, .. } = dismissed;
        let mut accounts = lock(&self.accounts);
        accounts.retain(|kept| !Arc::ptr_eq(&kept.account, account));
        let is_other = accounts.iter().any(|kept| kept.name == *name);
        drop(accounts);
        account.give_up();
        let mut holdings = lock(&self.holdings);
        if !is_other && holdings.entry(name).is_some() {
            holdings.set(name, None);
            holdings.write(&self.holdings_path);
        }
    }

    /// Notes the name of another token that an account has taken.
    fn note_alias(&self, account: &Arc<Account>, alias: AccountName) {
        let mut accounts = lock(&self.accounts);
        let kept = accounts.iter_mut().find(|kept| Arc::ptr_eq(&kept.account, account));
        if let Some(kept) = kept.filter(|kept| kept.name != alias && !kept.aliases.contains(&alias))
        {
            kept.aliases.push(alias);
        }
    }

    /// All accounts that are looked after.
    pub(super) fn accounts(&self) -> Vec<(AccountName, Arc<Account>)> {
        let accounts = lock(&self.accounts);
        accounts.iter().map(|kept| (kept.name.clone(), kept.account.clone())).collect()
    }

    /// Writes down what the accounts have, if that has changed. Those that are superseded are not
    /// looked after any longer.
    pub(super) fn save(&self) {
        let accounts = self.accounts();
        let mut holdings = lock(&self.holdings);
        let mut next = holdings.clone();
        for KeptAccount { name, account, aliases, .. } in lock(&self.accounts).iter() {
            let (keeper, aliases) = (Some(std::process::id()), aliases.clone());
            let holding = account.holding();
            next.set(name, holding.map(|holding| Holding { keeper, aliases, ..holding }));
        }
        let present: Vec<_> = accounts.iter().map(|(name, _)| name).collect();
        let superseded = next.remove_superseded(&present, |seer, holding| {
            accounts.iter().any(|(name, account)| name == seer && account.has_seen(holding))
        });
        for (_, account) in accounts.iter().filter(|(name, _)| superseded.contains(name)) {
            account.give_up();
        }
        if next != *holdings {
            next.write(&self.holdings_path);
            *holdings = next;
        }
    }

    /// Counts a session until the result is dropped.
    pub(super) fn open_session(self: &Arc<Self>) -> OpenSession {
        let mut sessions = lock(&self.sessions);
        sessions.open += 1;
        sessions.count += 1;
        sessions.since = Instant::now();
        OpenSession { state: self.clone(), number: sessions.count }
    }

    /// The number of open sessions.
    pub(super) fn sessions(&self) -> usize {
        lock(&self.sessions).open
    }

    /// What is held, as a command is told that asks.
    pub(super) fn summary(&self) -> KeeperSummary {
        let accounts = self.accounts();
        KeeperSummary {
            up_secs: self.started.elapsed().as_secs(),
            accounts: accounts.len(),
            servers: accounts.iter().filter_map(|(_, account)| account.held_server()).collect(),
            commands: self.sessions().saturating_sub(1),
        }
    }

    /// How long no session has been open; `None` while one is.
    pub(super) fn idle(&self) -> Option<Duration> {
        let sessions = lock(&self.sessions);
        (sessions.open == 0).then(|| sessions.since.elapsed())
    }

    /// Offers a connection for streams.
    pub(super) fn offer(&self, connection: Arc<ServerConnection>) -> Offered<'_> {
        let mut connections = lock(&self.connections);
        connections.last_ticket += 1;
        let ticket = connections.last_ticket;
        connections.by_ticket.insert(ticket, connection);
        Offered { state: self, ticket }
    }

    /// The connection of a ticket; `None` if its command has ended.
    pub(super) fn connection(&self, ticket: u64) -> Option<Arc<ServerConnection>> {
        lock(&self.connections).by_ticket.get(&ticket).cloned()
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        let mut sessions = lock(&self.state.sessions);
        sessions.open -= 1;
        sessions.since = Instant::now();
        drop(sessions);
        self.state.changed.notify_one();
    }
}

impl Drop for Offered<'_> {
    fn drop(&mut self) {
        lock(&self.state.connections).by_ticket.remove(&self.ticket);
    }
}

/// The guarded values are consistent between any two statements, so a panic elsewhere does
/// not make them unusable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
