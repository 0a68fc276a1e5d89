//! What a gateway finds of its former life when it starts, read before anything is written; and the same looked at without a start.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;

use crate::agents::{self, CreatedAgent};
use crate::channels;
use crate::config::{Auth, GatewayConfig, is_agent_id};
use crate::cron::file::{FILE as CRON_FILE, Stored};
use crate::devices::{DEVICES_FILE, Devices, DevicesFileError};
use crate::effect::FileChange;
use crate::processes::{Orphan, find_orphans};
use crate::sessions::{self, SessionBounds, Sessions, transcript};

/// What is known of the wall clock, in the state directory.
pub(crate) const CLOCK_FILE: &str = "clock.json";
/// Largest transcript that is read, in bytes. Ours stay far below it.
const TRANSCRIPT_BYTES: u64 = 64 * 1024 * 1024;
/// Largest file of jobs and their runs that is read, in bytes. Ours stay far below it.
const CRON_BYTES: u64 = 256 * 1024 * 1024;

/// What was read before the core actor starts.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub devices: Devices,
    pub sessions: Sessions,
    pub agents: BTreeMap<String, CreatedAgent>,
    /// What is kept of channels, by files.
    pub channels: BTreeMap<PathBuf, channels::Record>,
    /// What puts the files in order; carried out before anything else is written.
    pub repairs: Vec<FileChange>,
    pub remarks: Vec<String>,
    pub orphans: Vec<Orphan>,
    /// What was known of the wall clock, where anything was.
    pub steady_time: Option<String>,
    pub boot: String,
    pub cron: Stored,
    /// The time zone of the machine.
    pub zone: TimeZone,
}

impl Loaded {
    pub(crate) fn nothing(config: &GatewayConfig) -> Self {
        Self {
            devices: Devices::new(&config.device_auth),
            sessions: Sessions::new(SessionBounds::from(&config.limits)),
            agents: BTreeMap::new(),
            channels: BTreeMap::new(),
            repairs: Vec::new(),
            remarks: Vec::new(),
            orphans: Vec::new(),
            steady_time: None,
            boot: String::new(),
            cron: Stored::default(),
            zone: TimeZone::UTC,
        }
    }
}

/// Why the state can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The operating system doesn't let it be read.
    #[error("{path} of the gateway's state could not be read: {source}; correct its permissions or restore it")]
    Unreadable { path: PathBuf, source: io::Error },
    /// The list of devices makes no sense: to go on would lock everybody out without a word.
    #[error("in the state directory {state_dir}: {source}")]
    Devices { state_dir: PathBuf, source: DevicesFileError },
}

/// Reads devices, sessions and created agents. A transcript that makes no sense is left alone with a remark, a file that can't
/// be read stops the start.
///
/// # Errors
/// See [`LoadError`].
pub(crate) fn read_state(config: &GatewayConfig) -> Result<Loaded, LoadError> {
    let mut loaded = Loaded::nothing(config);
    read_devices(config, &mut loaded)?;
    read_agents(config, &mut loaded)?;
    read_channels(config, &mut loaded)?;
    let folder = config.state_dir.join(transcript::FOLDER);
    let names = names_in(&folder, ".jsonl").map_err(|source| unreadable(&folder, source))?;
    let mut failed = None;
    let transcripts = names.into_iter().map_while(|name| {
        let path = folder.join(format!("{name}.jsonl"));
        match read(&path, TRANSCRIPT_BYTES) {
            Ok(bytes) => Some((name, bytes)),
            Err(source) => {
                failed = Some(unreadable(&path, source));
                None
            }
        }
    });
    let found = sessions::load(SessionBounds::from(&config.limits), transcripts);
    if let Some(error) = failed {
        return Err(error);
    }
    loaded.sessions = found.sessions;
    loaded.repairs.extend(found.repairs);
    loaded.remarks.extend(found.remarks);
    read_cron(config, &mut loaded)?;
    loaded.zone = TimeZone::try_system().unwrap_or(TimeZone::UTC);
    loaded.orphans = find_orphans(&config.state_dir, None);
    // Without them the clock is believed as it is now: no reason not to start.
    loaded.steady_time = fs::read_to_string(config.state_dir.join(CLOCK_FILE)).ok();
    loaded.boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Ok(loaded)
}

fn unreadable(path: &Path, source: io::Error) -> LoadError {
    LoadError::Unreadable { path: path.to_owned(), source }
}

fn read_devices(config: &GatewayConfig, loaded: &mut Loaded) -> Result<(), LoadError> {
    let path = config.state_dir.join(DEVICES_FILE);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        read => Some(read.map_err(|source| unreadable(&path, source))?),
    };
    loaded.devices = Devices::read(&config.device_auth, text.as_deref())
        .map_err(|source| LoadError::Devices { state_dir: config.state_dir.clone(), source })?;
    Ok(())
}

fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {most} bytes")));
    }
    fs::read(path)
}

/// Names of the regular files with this ending, without it, in order.
fn names_in(folder: &Path, ending: &str) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str().and_then(|name| name.strip_suffix(ending))
            && entry.file_type()?.is_file()
        {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn read_agents(config: &GatewayConfig, loaded: &mut Loaded) -> Result<(), LoadError> {
    let path = config.state_dir.join(agents::FILE);
    let without = "agents that were created over the wire are missing";
    let found: Option<BTreeMap<String, CreatedAgent>> = read_or_set_aside(&path, without, &mut loaded.remarks)?;
    loaded.agents = found.unwrap_or_default().into_iter().filter(|(id, _)| is_agent_id(id)).collect();
    Ok(())
}

fn read_channels(config: &GatewayConfig, loaded: &mut Loaded) -> Result<(), LoadError> {
    let folder = config.state_dir.join(channels::FOLDER);
    for name in names_in(&folder, ".json").map_err(|source| unreadable(&folder, source))? {
        let file = Path::new(channels::FOLDER).join(format!("{name}.json"));
        let without = "who was approved there has to be approved again, and messages that waited are lost";
        let found = read_or_set_aside(&config.state_dir.join(&file), without, &mut loaded.remarks)?;
        loaded.channels.extend(found.map(|record| (file, record)));
    }
    Ok(())
}

/// A file of JSON; none where there is none. One that makes no sense is kept under another name: the next change would write over
/// it, and a person could still repair it.
fn read_or_set_aside<T: DeserializeOwned>(
    path: &Path,
    without: &str,
    remarks: &mut Vec<String>,
) -> Result<Option<T>, LoadError> {
    let text = match read(path, TRANSCRIPT_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|source| unreadable(path, source))?,
    };
    match serde_json::from_slice(&text) {
        Ok(found) => Ok(Some(found)),
        Err(error) => {
            let aside = path.with_extension("json.damaged");
            fs::rename(path, &aside).map_err(|source| unreadable(path, source))?;
            remarks.push(format!(
                "{} makes no sense ({error}) and was set aside as {}; {without}",
                path.display(),
                aside.display()
            ));
            Ok(None)
        }
    }
}

fn read_cron(config: &GatewayConfig, loaded: &mut Loaded) -> Result<(), LoadError> {
    let path = config.state_dir.join(CRON_FILE);
    let bytes = match read(&path, CRON_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(|source| unreadable(&path, source))?,
    };
    loaded.cron = Stored::read(&bytes);
    if loaded.cron.damaged > 0 {
        // It is written anew without them: keep what a person could still repair.
        let aside = path.with_extension("jsonl.damaged");
        fs::copy(&path, &aside).map_err(|source| unreadable(&path, source))?;
        loaded.remarks.push(format!(
            "{} lines of {} make no sense and are left out; the file as it was is {}",
            loaded.cron.damaged,
            path.display(),
            aside.display()
        ));
    }
    Ok(())
}

/// Reads the files of a state directory but for transcripts with the parsers of a start, and changes nothing: how many there are, and
/// what is wrong with them, in sentences that end with the cure.
#[must_use]
pub fn look_at_state(state_dir: &Path) -> (usize, Vec<String>) {
    const BACKUP: &str = "put a backup in its place, or the next start";
    let device_auth = GatewayConfig::defaults(state_dir.to_owned(), Auth::None).device_auth;
    let folder = state_dir.join(channels::FOLDER);
    let records = names_in(&folder, ".json").unwrap_or_default();
    let records = records.iter().map(|name| folder.join(format!("{name}.json")));
    let own = [DEVICES_FILE, agents::FILE, CRON_FILE].map(|name| state_dir.join(name));
    let files: Vec<PathBuf> = own.into_iter().chain(records).filter(|path| path.exists()).collect();
    let wrong = |path: &PathBuf| {
        let shown = path.display();
        let no_json =
            |error| format!("{shown} makes no sense ({error}); {BACKUP} sets it aside, and begins without it");
        let name = path.file_name().and_then(|name| name.to_str());
        let bytes = match read(path, if name == Some(CRON_FILE) { CRON_BYTES } else { TRANSCRIPT_BYTES }) {
            Ok(bytes) => bytes,
            Err(source) => return Some(unreadable(path, source).to_string()),
        };
        match name {
            Some(DEVICES_FILE) => match std::str::from_utf8(&bytes) {
                Ok(text) => Devices::read(&device_auth, Some(text)).err().map(|error| error.to_string()),
                Err(error) => Some(unreadable(path, io::Error::new(io::ErrorKind::InvalidData, error)).to_string()),
            },
            Some(agents::FILE) => serde_json::from_slice::<BTreeMap<String, CreatedAgent>>(&bytes).err().map(no_json),
            Some(CRON_FILE) => Some(Stored::read(&bytes).damaged).filter(|damaged| *damaged > 0).map(|damaged| {
                format!("{shown} has lines that make no sense: {damaged}; {BACKUP} leaves them out, and keeps a copy")
            }),
            _ => serde_json::from_slice::<channels::Record>(&bytes).err().map(no_json),
        }
    };
    (files.len(), files.iter().filter_map(wrong).collect())
}
