//! Which commands a node of a platform may be asked for: the tables of real releases (2026.9.6), and what `gateway.nodes.commands`
//! adds to them or takes away. A command that was approved is still refused where it isn't in here.

use crate::config::NodeCommands;
use crate::devices::Surface;

const DEVICE: &[&str] = &["device.info", "device.status"];
const PERSONAL: &[&str] =
    &["contacts.search", "calendar.events", "reminders.list", "photos.latest", "motion.activity", "motion.pedometer"];
const PLACE: &[&str] = &["camera.list", "location.get"];
const NOTIFY: &[&str] = &["system.notify"];
/// What a computer's node host carries out.
const HOST: &[&str] = &[
    "system.run.prepare",
    "system.run",
    "system.which",
    "system.execApprovals.get",
    "system.execApprovals.set",
    "fs.listDir",
    "terminal.upload",
    "browser.proxy",
    "browser.proxy.upload.v1",
    "mcp.tools.call.v1",
    "agent.cli.claude.run.v1",
    "screen.snapshot",
    "desktop.stream",
    "computer.act",
];
const TALK: &[&str] = &["talk.ptt.start", "talk.ptt.stop", "talk.ptt.cancel", "talk.ptt.once"];
const WATCH: &[&str] = &["watch.status", "watch.notify"];
/// Of nobody, unless the configuration names them.
const DANGEROUS: &[&str] = &[
    "camera.snap",
    "camera.clip",
    "camera.ptz.control",
    "screen.record",
    "contacts.add",
    "calendar.add",
    "reminders.add",
    "sms.send",
    "sms.search",
    "health.summary",
];
/// Ways into a machine: to approve them takes an administrator.
const APPROVED_BY_ADMINS: &[&str] =
    &["system.run.prepare", "system.run", "system.which", "system.execApprovals.get", "system.execApprovals.set"];
/// To ask for them takes an administrator, too.
const FOR_ADMINS: &[&str] = &["browser.proxy", "browser.proxy.upload.v1", "fs.listDir", "terminal.upload"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Platform {
    Ios,
    Watchos,
    Android,
    Macos,
    Windows,
    Linux,
    Unknown,
}

impl Platform {
    /// By both words, which must fit each other: a phone can't call itself a computer to be asked for more.
    fn of(platform: &str, family: Option<&str>) -> Self {
        let (platform, family) = (normal(platform), normal(family.unwrap_or_default()));
        // Apps send the version with it: `iOS 18.1`, `Android 14 (SDK 34)`.
        let (name, version) =
            platform.split_once(' ').map_or((platform.as_str(), None), |(name, rest)| (name, Some(rest)));
        if version.is_some_and(|version| !version.starts_with(|first: char| first.is_ascii_digit())) {
            return Self::Unknown;
        }
        let bare = version.is_none() && family.is_empty();
        match (name, family.as_str()) {
            ("ios", "iphone" | "ipad" | "ios") => Self::Ios,
            ("ipados", "iphone" | "ipad" | "ios") if version.is_some() => Self::Ios,
            ("ios", _) if bare => Self::Ios,
            ("watchos", "apple watch" | "watchos") => Self::Watchos,
            ("android", "android") => Self::Android,
            ("android", _) if bare => Self::Android,
            ("macos", "mac") => Self::Macos,
            ("windows", "windows") if version.is_none() => Self::Windows,
            ("linux", "linux") if version.is_none() => Self::Linux,
            _ => Self::Unknown,
        }
    }

    fn commands(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Ios => &[PLACE, DEVICE, PERSONAL, NOTIFY],
            Self::Watchos => &[DEVICE, NOTIFY],
            Self::Android => &[
                PLACE,
                DEVICE,
                PERSONAL,
                NOTIFY,
                &["notifications.list", "notifications.actions", "callLog.search"],
                &["device.permissions", "device.health", "device.apps", "mobile.ui.observe", "mobile.ui.act"],
            ],
            Self::Macos => &[PLACE, DEVICE, PERSONAL, NOTIFY, HOST, &["camera.ptz.status", "device.apps"]],
            Self::Windows => &[PLACE, DEVICE, NOTIFY, HOST],
            Self::Linux => &[NOTIFY, HOST],
            Self::Unknown => &[PLACE, NOTIFY],
        }
    }
}

fn normal(word: &str) -> String {
    word.trim().to_lowercase()
}

/// Why a command that a node offers is not its to carry out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Barrier {
    /// Part of how gateways and their workers talk; no operator's.
    Private,
    /// The configuration says so.
    Denied,
    /// The configuration would have to name it.
    NeedsOptIn,
    /// Not of this platform.
    Foreign,
}

/// What a node may be asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommandPolicy<'a> {
    config: &'a NodeCommands,
    platform: Platform,
    is_iphone: bool,
    talks: bool,
}

impl<'a> CommandPolicy<'a> {
    pub(crate) fn new(config: &'a NodeCommands, platform: &str, family: Option<&str>, offered: &Surface) -> Self {
        Self {
            config,
            platform: Platform::of(platform, family),
            is_iphone: family.is_some_and(|family| normal(family) == "iphone"),
            talks: offered.caps.contains("talk") || offered.commands.iter().any(|command| command.starts_with("talk.")),
        }
    }

    pub(crate) fn check(&self, command: &str) -> Result<(), Barrier> {
        let named = |list: &[String]| list.iter().any(|one| one == command);
        if command.starts_with("worker.") {
            return Err(Barrier::Private);
        }
        if named(&self.config.deny) {
            return Err(Barrier::Denied);
        }
        if named(&self.config.allow) {
            return Ok(());
        }
        if DANGEROUS.contains(&command) {
            return Err(Barrier::NeedsOptIn);
        }
        let of_platform = self.platform.commands().iter().any(|commands| commands.contains(&command));
        let of_phone = self.platform == Platform::Ios && self.is_iphone && WATCH.contains(&command);
        if of_platform || of_phone || (self.talks && TALK.contains(&command)) { Ok(()) } else { Err(Barrier::Foreign) }
    }

    /// As much of an offer as the node may be asked for at all.
    pub(crate) fn admitted(&self, offered: &Surface) -> Surface {
        let commands = offered.commands.iter().filter(|command| self.check(command).is_ok());
        Surface { commands: commands.cloned().collect(), ..offered.clone() }
    }
}

/// Whether a command is for administrators alone.
pub(crate) fn is_for_admins(command: &str) -> bool {
    FOR_ADMINS.contains(&command)
}

/// What it takes, besides the right to pair, to approve an offer.
pub(crate) fn approval_scope(offered: &Surface) -> Option<&'static str> {
    let takes_admin = |command: &String| is_for_admins(command) || APPROVED_BY_ADMINS.contains(&command.as_str());
    match (offered.commands.is_empty(), offered.commands.iter().any(takes_admin)) {
        (_, true) => Some("operator.admin"),
        (false, false) => Some("operator.write"),
        (true, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn offered(commands: &[&str]) -> Surface {
        Surface::new(Vec::new(), commands.iter().map(|command| (*command).to_owned()).collect(), BTreeMap::new())
    }

    fn check(config: &NodeCommands, platform: &str, family: &str, command: &str) -> Result<(), Barrier> {
        CommandPolicy::new(config, platform, Some(family), &offered(&[command])).check(command)
    }

    #[test]
    fn a_platform_is_known_by_two_words_that_fit_each_other() {
        for (platform, family, expected) in [
            ("linux", "Linux", Platform::Linux),
            ("linux", "iPhone", Platform::Unknown),
            ("linux", "", Platform::Unknown),
            ("macos", "Mac", Platform::Macos),
            ("macOS 15.1", "Mac", Platform::Macos),
            ("iOS 18.1.1", "iPhone", Platform::Ios),
            ("iPadOS 18.1", "iPad", Platform::Ios),
            ("iOS beta", "iPhone", Platform::Unknown),
            ("ios", "", Platform::Ios),
            ("iOS 18.1", "", Platform::Unknown),
            ("Android 14 (SDK 34)", "Android", Platform::Android),
            ("watchOS 11.0", "Apple Watch", Platform::Watchos),
            ("windows", "Windows", Platform::Windows),
            ("beos", "Linux", Platform::Unknown),
        ] {
            assert_eq!(Platform::of(platform, Some(family)), expected, "{platform}, {family}");
        }
    }

    #[test]
    fn a_phone_runs_no_programs_and_a_computer_takes_no_photos_unasked() {
        let none = NodeCommands::default();
        assert_eq!(check(&none, "linux", "Linux", "system.run"), Ok(()));
        assert_eq!(check(&none, "ios", "iPhone", "system.run"), Err(Barrier::Foreign));
        assert_eq!(check(&none, "ios", "iPhone", "watch.notify"), Ok(()));
        assert_eq!(check(&none, "ios", "iPad", "watch.notify"), Err(Barrier::Foreign));
        assert_eq!(check(&none, "linux", "Linux", "talk.ptt.start"), Ok(()), "whoever talks");
        assert_eq!(check(&none, "macos", "Mac", "camera.snap"), Err(Barrier::NeedsOptIn));
        assert_eq!(check(&none, "linux", "Linux", "worker.launch.v1"), Err(Barrier::Private));
    }

    #[test]
    fn the_configuration_allows_more_and_what_it_denies_stays_denied() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let config = NodeCommands {
            allow: words(&["camera.snap", "canvas.present", "worker.launch.v1", "sms.send"]),
            deny: words(&["system.run", "sms.send"]),
        };
        assert_eq!(check(&config, "linux", "Linux", "camera.snap"), Ok(()));
        assert_eq!(check(&config, "linux", "Linux", "canvas.present"), Ok(()));
        assert_eq!(check(&config, "linux", "Linux", "worker.launch.v1"), Err(Barrier::Private));
        assert_eq!(check(&config, "linux", "Linux", "system.run"), Err(Barrier::Denied));
        assert_eq!(check(&config, "android", "Android", "sms.send"), Err(Barrier::Denied));
    }

    #[test]
    fn ways_into_a_machine_are_approved_by_administrators() {
        assert_eq!(approval_scope(&offered(&[])), None);
        assert_eq!(approval_scope(&offered(&["system.notify"])), Some("operator.write"));
        for command in ["system.run", "fs.listDir", "terminal.upload", "browser.proxy", "system.which"] {
            assert_eq!(approval_scope(&offered(&["system.notify", command])), Some("operator.admin"), "{command}");
        }
    }
}
