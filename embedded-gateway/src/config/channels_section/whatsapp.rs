//! WhatsApp, as far as it is a channel of its own: what its accounts, people and chats look like. Real releases speak the protocol of
//! its web page and have no keys for the Cloud API: those are ours, in a section `cloudApi`.

use gatewarden_protocol::Secret;

use super::{Channel, ChannelAccount, IdAndThread, api_root, direct, token_of};
use crate::config::other_sections::secret_file;
use crate::config::section::{Others, Section, set};

pub(super) static CHANNEL: Channel = Channel {
    id: "whatsapp",
    label: "WhatsApp",
    short: "wa",
    // Graph API versions are served for about two years.
    default_root: "https://graph.facebook.com/v25.0",
    token_variable: ACCESS_TOKEN,
    token_key: "cloudApi.accessToken",
    token,
    has_numbers: true,
    person: |id| person(id).ok_or("must be a phone number with its country such as \"+15551234567\", or \"*\""),
    account,
    from_environment,
    lacks,
    // They are of the web protocol, or of groups.
    unused: "capabilities markdown configWrites defaultTo mentionPatterns contextVisibility historyLimit dmHistoryLimit dms \
             streaming heartbeatVisibility healthMonitor responsePrefix mediaMaxMb replyToMode selfChatMode groups \
             groupPolicy groupAllowFrom direct reactionNotifications reactionLevel ackReaction pluginHooks authDir actions \
             messagePrefix chunkMode blockStreaming blockStreamingCoalesce debounceMs heartbeat pairing",
    without_token: "its section cloudApi isn't complete; the gateway's log says what is missing",
    mode: "webhook",
    has_connection: false,
    // The service calls again for days.
    remembered: 2_000,
    longest_part: 4_096,
    // Only phone numbers begin so.
    marks: &["+"],
    chat,
    cure_of_token: CURE,
    cure_of_conflict: CURE,
    cure_of_refusal: CURE,
};

const CURE: &str = "Check the section cloudApi, and the business account in the WhatsApp Manager";

/// What may stand in the environment instead.
const ACCESS_TOKEN: &str = "WHATSAPP_ACCESS_TOKEN";
const APP_SECRET: &str = "WHATSAPP_APP_SECRET";
const VERIFY_TOKEN: &str = "WHATSAPP_VERIFY_TOKEN";

/// Shortest app secret; Meta's have 32 characters. Whoever can guess it can write in everybody's name.
const SHORTEST_APP_SECRET: usize = 16;

/// The way to one phone number by the Cloud API, besides its access token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CloudApi {
    /// Names the phone number at the Graph API; it isn't the number itself.
    pub phone_number_id: Option<String>,
    /// Signs what the webhook gets.
    pub app_secret: Option<Secret>,
    /// What the webhook is asked for when it is registered.
    pub verify_token: Option<Secret>,
    /// Messages are shown as read, and that an answer is being written; default: yes.
    pub read_receipts: Option<bool>,
}

fn token(text: &str) -> Result<&str, &'static str> {
    let is_token = text.len() <= 2_048 && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_token
        .then_some(text)
        .ok_or("is no access token, which has letters and digits alone; a system user of the business has one")
}

/// Of what goes for all accounts one inherits all but the phone number.
fn account(section: &Section<'_>, into: &mut ChannelAccount) {
    let cloud = section.section("cloudApi");
    let id = cloud.parsed("phoneNumberId", |id| match id.len() {
        1..=32 if id.bytes().all(|byte| byte.is_ascii_digit()) => Ok(id.to_owned()),
        _ => Err("must be the phone number's id, a number that the app's page \"API Setup\" shows, in quotes"),
    });
    into.cloud.phone_number_id = id.or(into.cloud.phone_number_id.take());
    if let Some((token, source)) = one_of(&cloud, ["accessTokenFile", "accessToken"]) {
        into.token = token_of(&cloud, source, &CHANNEL, token.expose());
        into.token_source = if source == "accessToken" { "config" } else { "tokenFile" };
    }
    let app_secret = one_of(&cloud, ["appSecretFile", "appSecret"]);
    let app_secret = app_secret.and_then(|(secret, source)| app_secret_of(&cloud, source, secret));
    into.cloud.app_secret = app_secret.or(into.cloud.app_secret.take());
    let verify_token = one_of(&cloud, ["verifyTokenFile", "verifyToken"]).map(|(token, _)| token);
    into.cloud.verify_token = verify_token.or(into.cloud.verify_token.take());
    set(&mut into.api_root, cloud.parsed("apiRoot", api_root));
    cloud.close(Others::RefusedBut(""));
    into.cloud.read_receipts = section.switch("sendReadReceipts").or(into.cloud.read_receipts);
    // What is longer than WhatsApp takes is no mistake: real releases take any number.
    into.text_limit = section.number::<usize>("textChunkLimit", 64..=1_000_000).or(into.text_limit);
    direct(section, into);
}

/// The secret of a file, which goes first, or the one that is written out; and which key it was.
fn one_of(section: &Section<'_>, [file, written]: [&'static str; 2]) -> Option<(Secret, &'static str)> {
    let written_out = section.secret(written).map(|secret| (secret, written));
    secret_file(section, file).map(|secret| (secret, file)).or(written_out)
}

/// Where the section doesn't say it.
fn from_environment(section: &Section<'_>, into: &mut ChannelAccount) {
    let into = &mut into.cloud;
    let variable = |name: &str| section.findings.inputs.variable(name).filter(|text| !text.is_empty()).map(Secret::new);
    if into.app_secret.is_none() {
        into.app_secret = variable(APP_SECRET).and_then(|secret| app_secret_of(section, APP_SECRET, secret));
    }
    if into.verify_token.is_none() {
        into.verify_token = variable(VERIFY_TOKEN);
    }
}

/// An account that lacks a part isn't used.
fn lacks(account: &ChannelAccount) -> Option<String> {
    let cloud = &account.cloud;
    let parts = [
        ("phoneNumberId", cloud.phone_number_id.is_none()),
        ("accessToken", account.token.is_none()),
        ("appSecret", cloud.app_secret.is_none()),
        ("verifyToken", cloud.verify_token.is_none()),
    ];
    let missing: Vec<&str> = parts.into_iter().filter_map(|(name, is_missing)| is_missing.then_some(name)).collect();
    (!missing.is_empty()).then(|| {
        format!(
            "channels.whatsapp: the account {} isn't used, since its cloudApi has no {}: write what is missing (secrets also as \
             accessTokenFile, appSecretFile, verifyTokenFile, or in the environment as {ACCESS_TOKEN}, {APP_SECRET}, \
             {VERIFY_TOKEN}), or say enabled: false",
            account.id,
            missing.join(", ")
        )
    })
}

fn app_secret_of(section: &Section<'_>, key: &str, secret: Secret) -> Option<Secret> {
    if secret.expose().len() >= SHORTEST_APP_SECRET {
        return Some(secret);
    }
    section.wrong(key, None, "is no app secret, which has 32 characters; the app's page \"Basic settings\" shows it");
    None
}

/// A person as the channel names them: a phone number with its country, however it is written, or the id of a person who hides
/// the number.
pub(crate) fn person(text: &str) -> Option<String> {
    if is_scoped_id(text) {
        return Some(text.to_owned());
    }
    let is_filler = |letter: char| " ()-.+".contains(letter);
    let digits: String = text.chars().filter(|letter| !is_filler(*letter)).collect();
    let is_number = (6..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !digits.starts_with('0')).then(|| format!("+{digits}"))
}

fn chat(at: &str, place: &str, _: Option<&str>) -> Result<IdAndThread, String> {
    let id = person(place);
    let id = id.ok_or_else(|| format!("at {at}/to: must be a phone number with its country, such as +15551234567"))?;
    Ok((id, None))
}

/// The id that one business knows a person by: a country, a dot, letters and digits, such as `US.13491208655302741918`.
pub(crate) fn is_scoped_id(text: &str) -> bool {
    let plain = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    text.len() <= 64
        && text.split_once('.').is_some_and(|(country, rest)| {
            country.len() == 2
                && country.bytes().all(|byte| byte.is_ascii_uppercase())
                && rest.len() >= 8
                && plain(rest)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_a_number_with_its_country_or_an_id_and_no_name() {
        for (text, known) in [
            ("+15551234567", Some("+15551234567")),
            ("15551234567", Some("+15551234567")),
            ("+1 (555) 123-4567", Some("+15551234567")),
            ("US.13491208655302741918", Some("US.13491208655302741918")),
            ("US.ENT.11815799212886844830", Some("US.ENT.11815799212886844830")),
            ("0555123456", None),
            ("+1555", None),
            ("+1234567890123456", None),
            ("@eve", None),
            ("", None),
            ("us.13491208655302741918", None),
            ("US.134912086/../x", None),
        ] {
            assert_eq!(person(text).as_deref(), known, "{text}");
        }
    }
}
