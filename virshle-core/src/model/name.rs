//! The name of a machine: what is allowed, and random ones.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A machine's name: what people type, what the guest gets as its host name.
///
/// A name that does not fit is refused and never cut: two machines would share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VmName(String);

/// Why a text is not the name of a machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// Nothing is in it.
    #[error("a machine's name has at least one character")]
    Empty,
    /// It is longer than a host name's label may be (RFC 1123 §2.1).
    #[error("a machine's name has at most {} bytes, this one has {length}", VmName::MAX_LEN)]
    TooLong {
        /// The length in bytes.
        length: usize,
    },
    /// It has a character that is not allowed where it stands.
    #[error(
        "a machine's name is made of letters, digits, '-', '_' and '.', and begins with a letter \
         or digit: {character:?} does not fit"
    )]
    Character {
        /// The first one that does not fit.
        character: char,
    },
    /// It reads as an id.
    #[error("a machine's name cannot be a number: it would be read as an id")]
    Number,
}

impl VmName {
    /// The longest name, in bytes: a label of a host name (RFC 1123 §2.1).
    pub const MAX_LEN: usize = 63;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a host name: underscores, which a host name can't have, become hyphens
    /// (RFC 952; RFC 1123 §2.1). Labels that would be empty are left out.
    pub fn host_name(&self) -> String {
        let name = self.0.replace('_', "-");
        let labels = name.split('.').map(|label| label.trim_matches('-'));
        labels.filter(|label| !label.is_empty()).collect::<Vec<_>>().join(".")
    }

    /// Whether it has labels with something in each, as a host name has: a machine that is created has
    /// such a name.
    pub fn is_host_name(&self) -> bool {
        !self.0.contains("..")
    }

    /// Makes a random name that is not in `taken`.
    pub fn random(taken: &HashSet<VmName>) -> Self {
        for attempt in 0_u32.. {
            let random = Uuid::new_v4().as_u128();
            let adjective = pick(ADJECTIVES, random);
            let place = pick(PLACES, random >> 64);
            // Crowded nodes get a number: after a few collisions pairs are scarce.
            let text = if attempt < 8 {
                format!("{adjective}_{place}")
            } else {
                format!("{adjective}_{place}_{}", (random >> 96) % 100_000)
            };
            let name = Self(text);
            if !taken.contains(&name) {
                return name;
            }
        }
        unreachable!("the attempts are not bounded")
    }
}

fn pick(words: &'static [&'static str], random: u128) -> &'static str {
    let index = random % words.len() as u128;
    usize::try_from(index).ok().and_then(|index| words.get(index)).copied().unwrap_or(words[0])
}

impl FromStr for VmName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        if text.len() > Self::MAX_LEN {
            return Err(InvalidName::TooLong { length: text.len() });
        }
        for (index, character) in text.char_indices() {
            let fits = character.is_ascii_alphanumeric()
                || (index > 0 && matches!(character, '-' | '_' | '.'));
            if !fits {
                return Err(InvalidName::Character { character });
            }
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidName::Number);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for VmName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<VmName> for String {
    fn from(name: VmName) -> Self {
        name.0
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

const ADJECTIVES: &[&str] = &[
    "able", "agile", "airy", "amber", "ample", "apt", "azure", "bold", "brave", "breezy", "brief",
    "bright", "brisk", "bronze", "buoyant", "busy", "buzz", "calm", "candid", "cheery", "chief",
    "civil", "clean", "clear", "clever", "cool", "copper", "coral", "cosy", "crisp", "curious",
    "dapper", "daring", "dear", "deep", "deft", "dry", "eager", "early", "easy", "elder", "epic",
    "equal", "fair", "famous", "fancy", "fast", "fine", "firm", "fleet", "fluent", "fond", "frank",
    "free", "fresh", "gentle", "giant", "glad", "gold", "good", "grand", "great", "green", "handy",
    "happy", "hardy", "hazel", "honest", "humble", "ideal", "ivory", "jade", "jolly", "keen",
    "kind", "large", "lasting", "light", "lively", "loyal", "lucid", "lucky", "major", "mellow",
    "merry", "mild", "minty", "misty", "modest", "neat", "nimble", "noble", "olive", "open",
    "patient", "placid", "plain", "polite", "prime", "proud", "pure", "quick", "quiet", "rapid",
    "rare", "ready", "regal", "rosy", "round", "royal", "ruby", "sage", "sharp", "shiny", "silent",
    "silver", "simple", "smart", "smooth", "snowy", "solid", "spry", "steady", "still", "stout",
    "sunny", "super", "sure", "sweet", "swift", "tall", "tidy", "top", "true", "urban", "velvet",
    "vivid", "warm", "wise", "witty", "young", "zesty",
];

const PLACES: &[&str] = &[
    "accra", "adana", "agra", "alba", "almaty", "amman", "ankara", "aosta", "arles", "arusha",
    "asmara", "assisi", "avila", "baku", "bamako", "banff", "bari", "basel", "batumi", "beira",
    "bergen", "bern", "bilbao", "bled", "bonn", "braga", "bruges", "cadiz", "cairo", "calais",
    "cannes", "cardiff", "chania", "cork", "cuenca", "cusco", "dakar", "dalat", "delft", "delphi",
    "dijon", "dover", "dublin", "durban", "elba", "essen", "evora", "faro", "fez", "fiji",
    "galway", "gdansk", "genoa", "ghent", "goa", "gouda", "graz", "hanoi", "harar", "havana",
    "hilo", "hobart", "ibiza", "imola", "izmir", "jaffa", "jaipur", "jena", "kandy", "kazan",
    "kigali", "kobe", "konya", "kyoto", "lagos", "lahti", "leipzig", "leon", "lhasa", "lima",
    "linz", "lisbon", "lodz", "luanda", "lugano", "lund", "luxor", "lyon", "malmo", "maputo",
    "matala", "memphis", "merida", "metz", "milan", "minsk", "monza", "muscat", "nagoya", "namur",
    "nantes", "naxos", "nice", "nimes", "odessa", "oran", "osaka", "oslo", "oviedo", "padua",
    "palma", "paros", "patras", "perth", "pisa", "porto", "prague", "pula", "quito", "rabat",
    "reims", "riga", "rodos", "rouen", "salta", "samos", "seoul", "siena", "sintra", "skopje",
    "sofia", "split", "sparta", "sucre", "suva", "tallinn", "tampa", "taormina", "tartu", "tirana",
    "toledo", "trieste", "tulum", "tunis", "turin", "turku", "ulm", "utrecht", "vaduz", "varna",
    "verona", "vienna", "vigo", "warsaw", "york", "zadar", "zagreb", "zurich",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused() {
        for text in ["", "a/b", "..", ".", "-a", "_a", "a b", "a\nb", "ä", "12", "a\0", "~"] {
            assert!(text.parse::<VmName>().is_err(), "{text:?}");
        }
        assert!("a".repeat(64).parse::<VmName>().is_err());
        assert!("a".repeat(63).parse::<VmName>().is_ok());
    }

    #[test]
    fn every_random_name_is_valid_and_new() {
        let mut taken = HashSet::new();
        for _ in 0..30_000 {
            let name = VmName::random(&taken);
            assert_eq!(name.as_str().parse::<VmName>().as_ref(), Ok(&name));
            assert!(taken.insert(name));
        }
    }

    #[test]
    fn host_names_have_no_underscore() {
        let name: VmName = "buzz_matala".parse().unwrap();
        assert_eq!(name.host_name(), "buzz-matala");
    }
}
