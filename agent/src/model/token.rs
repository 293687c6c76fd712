//! An enum of the contract: its variants, the word of each, and nothing said twice.

/// Declares an enum whose variants are words of the contract: the word is what serde writes and
/// reads, what [`token`](crate::model::CauseId::token) says, and what the JSON Schema lists.
macro_rules! tokens {
    ($(#[$meta:meta])* $visibility:vis enum $name:ident { $($(#[$doc:meta])* $variant:ident = $token:literal,)+ }) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
            serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        $visibility enum $name {
            $($(#[$doc])* #[serde(rename = $token)] $variant,)+
        }

        impl $name {
            /// All of them, in the order of the contract.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word of the contract.
            pub const fn token(self) -> &'static str {
                match self {
                    $(Self::$variant => $token,)+
                }
            }
        }
    };
}
pub(crate) use tokens;
