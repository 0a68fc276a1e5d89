//! The command `tailscale`, run as a program with arguments, never by a shell: in a process group of its own, with the few variables that
//! it needs, bounded in time and output.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use gatewarden_processes::{ChildEvent, Ended, Launch, Order, Owner, Stream, supervise};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use super::answers::Fault;
use crate::processes::owner_of;

/// A question is answered within this, as in real releases.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// From SIGTERM to SIGKILL.
const KILL_AFTER: Duration = Duration::from_secs(2);
/// What is kept of each stream, in bytes.
const MAX_OUTPUT: usize = 512 * 1024;
const MAX_LINE: usize = 256 * 1024;
/// The variables that the command gets.
const VARIABLES: [&str; 4] = ["PATH", "HOME", "USER", "XDG_RUNTIME_DIR"];
/// Which process of the gateway's a route is.
const ROUTE: &str = "tailscale-route";

/// What was said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) out: String,
    pub(super) err: String,
}

impl Said {
    fn add(&mut self, stream: Stream, lines: Vec<gatewarden_processes::Line>) {
        let text = if stream == Stream::Stdout { &mut self.out } else { &mut self.err };
        for line in lines {
            if text.len() + line.text.len() < MAX_OUTPUT {
                let _ = writeln!(text, "{}", line.text);
            }
        }
    }

    /// Both streams.
    pub(super) fn all(&self) -> String {
        format!("{}\n{}", self.err, self.out)
    }
}

#[derive(Debug)]
pub(super) struct Command {
    folders: Vec<PathBuf>,
    owner: Owner,
    questions: Cell<u64>,
    /// Closing the queue of a question ends it.
    asked: RefCell<Vec<mpsc::Sender<Order>>>,
    /// Each process that runs has a receiver of it.
    running: watch::Sender<()>,
}

impl Command {
    pub(super) fn new(folders: Vec<PathBuf>, state_dir: &Path) -> Self {
        Self {
            folders,
            owner: owner_of(state_dir),
            questions: Cell::default(),
            asked: RefCell::default(),
            running: watch::Sender::new(()),
        }
    }

    fn program(&self) -> Result<PathBuf, Fault> {
        let in_folders =
            self.folders.iter().filter(|folder| folder.is_absolute()).map(|folder| folder.join("tailscale"));
        let of_mac = PathBuf::from("/Applications/Tailscale.app/Contents/MacOS/Tailscale");
        in_folders.chain([of_mac]).find(|path| path.is_file()).ok_or(Fault::NotInstalled)
    }

    fn launch(&self, member: &str, args: &[&str]) -> Result<Launch, Fault> {
        let mut command = std::process::Command::new(self.program()?);
        let kept = VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.args(args).env_clear().envs(kept).env("LC_ALL", "C");
        Ok(Launch {
            max_line_bytes: MAX_LINE,
            kill_after: Some(KILL_AFTER),
            ..Launch::new(command, self.owner.tag(member))
        })
    }

    /// Asks, and waits for the end of the answer. An exit code other than 0 is an error.
    pub(super) async fn ask(&self, args: &[&str]) -> Result<String, Fault> {
        self.questions.set(self.questions.get() + 1);
        // Two processes may ask for one state directory: the gateway, and a look at it.
        let member = format!("tailscale-{}-{}", std::process::id(), self.questions.get());
        let launch = self.launch(&member, args)?;
        let launch = Launch { timeout: Some(ANSWERED_WITHIN), ..launch };
        let what = format!("tailscale {}", args.join(" "));
        let (orders, queue) = mpsc::channel(1);
        {
            let mut asked = self.asked.borrow_mut();
            asked.retain(|orders| !orders.is_closed());
            asked.push(orders);
        }
        let running = self.running.subscribe();
        // A question that nobody waits for any more ends all the same.
        let answered = actix_rt::spawn(async move {
            let _running = running;
            let (said, ended) = (RefCell::new(Said::default()), RefCell::new(Err(String::new())));
            supervise(launch, queue, |event| {
                match event {
                    ChildEvent::Output(stream, lines) => said.borrow_mut().add(stream, lines),
                    ChildEvent::NotStarted(reason) => *ended.borrow_mut() = Err(reason),
                    ChildEvent::Ended(end) => *ended.borrow_mut() = Ok(end),
                    _ => {}
                }
                std::future::ready(())
            })
            .await;
            (said.into_inner(), ended.into_inner())
        });
        match answered.await {
            Ok((said, Ok(Ended { code: Some(0), .. }))) => Ok(said.out),
            Ok((_, Ok(Ended { timed_out: true, .. }))) => Err(Fault::NoAnswer(what)),
            Ok((said, Ok(_))) => Err(Fault::of_words(&said.all(), &what)),
            Ok((_, Err(reason))) => Err(Fault::NotStarted(reason)),
            Err(_) => Err(Fault::NotStarted("running it failed; see the log".to_owned())),
        }
    }

    /// Ends the route of a gateway that crashed on this state directory.
    pub(super) async fn end_former_route(&self) {
        let tag = self.owner.tag(ROUTE);
        let _ = spawn_blocking(move || tag.end_former(None, KILL_AFTER)).await;
    }

    /// Ends what it runs, and waits until that is gone.
    pub(super) async fn end(&self) {
        self.asked.borrow_mut().clear();
        self.running.closed().await;
    }

    /// Starts what goes on until it is ended.
    pub(super) fn start(&self, args: &[&str]) -> Result<Ongoing, Fault> {
        let launch = self.launch(ROUTE, args)?;
        let (orders, queue) = mpsc::channel(1);
        let said = Rc::new(RefCell::new(Said::default()));
        let (tell, changed) = watch::channel(Progress::Running);
        let (into, what) = (Rc::clone(&said), format!("tailscale {}", args.join(" ")));
        let running = self.running.subscribe();
        let supervised = supervise(launch, queue, move |event| {
            match event {
                ChildEvent::Output(stream, lines) => {
                    into.borrow_mut().add(stream, lines);
                    // Whoever waits looks at what was said.
                    tell.send_modify(|_| {});
                }
                ChildEvent::NotStarted(reason) => drop(tell.send_replace(Progress::Over(Fault::NotStarted(reason)))),
                ChildEvent::Ended(_) => {
                    let fault = Fault::of_words(&into.borrow().all(), &what);
                    drop(tell.send_replace(Progress::Over(fault)));
                }
                _ => {}
            }
            std::future::ready(())
        });
        let task = actix_rt::spawn(async move {
            let _running = running;
            supervised.await;
        });
        Ok(Ongoing { orders: Some(orders), task, said, changed })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    Running,
    Over(Fault),
}

/// A command that goes on. Dropping it has it ended.
#[derive(Debug)]
pub(super) struct Ongoing {
    /// Closing the queue ends the process.
    orders: Option<mpsc::Sender<Order>>,
    task: JoinHandle<()>,
    said: Rc<RefCell<Said>>,
    changed: watch::Receiver<Progress>,
}

impl Ongoing {
    /// Resolves when it has said something.
    pub(super) async fn says(&self, words: &str) -> Result<(), Fault> {
        let mut changed = self.changed.clone();
        loop {
            if self.said.borrow().all().contains(words) {
                return Ok(());
            }
            if let Progress::Over(fault) = &*changed.borrow_and_update() {
                return Err(fault.clone());
            }
            // Its task has gone: so has the process.
            changed.changed().await.map_err(|_| Fault::NotStarted("it has ended".to_owned()))?;
        }
    }

    /// What it has said so far.
    pub(super) fn said(&self) -> String {
        self.said.borrow().all()
    }

    /// Why it has ended.
    pub(super) async fn ended(&self) -> Fault {
        let mut changed = self.changed.clone();
        let over = changed.wait_for(|progress| *progress != Progress::Running).await;
        match over.as_deref() {
            Ok(Progress::Over(fault)) => fault.clone(),
            _ => Fault::NotStarted("it has ended".to_owned()),
        }
    }

    /// Ends it, and waits until it is gone: 2 s at most until it is killed.
    pub(super) async fn end(mut self) {
        self.orders = None;
        let _ = tokio::time::timeout(KILL_AFTER * 2, &mut self.task).await;
    }
}
