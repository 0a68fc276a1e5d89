//! What a gateway finds of its former life when it starts, read before anything is written.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::agents::{self, CreatedAgent};
use crate::config::{GatewayConfig, is_agent_id};
use crate::devices::{DEVICES_FILE, Devices, DevicesFileError};
use crate::effect::FileChange;
use crate::processes::{Orphan, find_orphans};
use crate::sessions::{self, SessionBounds, Sessions, transcript};

/// What is known of the wall clock, in the state directory.
pub(crate) const CLOCK_FILE: &str = "clock.json";
/// Largest transcript that is read, in bytes. Ours stay far below it.
const TRANSCRIPT_BYTES: u64 = 64 * 1024 * 1024;

/// What was read before the core actor starts.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub devices: Devices,
    pub sessions: Sessions,
    pub agents: BTreeMap<String, CreatedAgent>,
    /// What puts the files in order; carried out before anything else is written.
    pub repairs: Vec<FileChange>,
    pub remarks: Vec<String>,
    pub orphans: Vec<Orphan>,
    /// What was known of the wall clock, where anything was.
    pub steady_time: Option<String>,
    pub boot: String,
}

impl Loaded {
    pub(crate) fn nothing(config: &GatewayConfig) -> Self {
        Self {
            devices: Devices::new(&config.device_auth),
            sessions: Sessions::new(SessionBounds::from(&config.limits)),
            agents: BTreeMap::new(),
            repairs: Vec::new(),
            remarks: Vec::new(),
            orphans: Vec::new(),
            steady_time: None,
            boot: String::new(),
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
    let folder = config.state_dir.join(transcript::FOLDER);
    let names = transcript_names(&folder).map_err(|source| unreadable(&folder, source))?;
    let mut failed = None;
    let transcripts = names.into_iter().map_while(|name| {
        let path = folder.join(format!("{name}.jsonl"));
        match read(&path) {
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
    loaded.orphans = find_orphans(&config.state_dir);
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

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > TRANSCRIPT_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {TRANSCRIPT_BYTES} bytes")));
    }
    fs::read(path)
}

/// Names of the regular `*.jsonl` files, in order.
fn transcript_names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str().and_then(|name| name.strip_suffix(".jsonl"))
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
    let text = match read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(|source| unreadable(&path, source))?,
    };
    match serde_json::from_slice::<BTreeMap<String, CreatedAgent>>(&text) {
        Ok(agents) => loaded.agents = agents.into_iter().filter(|(id, _)| is_agent_id(id)).collect(),
        Err(error) => {
            // The next change would write over it: keep what a person could still repair.
            let aside = path.with_extension("json.damaged");
            fs::rename(&path, &aside).map_err(|source| unreadable(&path, source))?;
            loaded.remarks.push(format!(
                "{} makes no sense ({error}) and was set aside as {}; agents that were created over the wire are missing",
                path.display(),
                aside.display()
            ));
        }
    }
    Ok(())
}
