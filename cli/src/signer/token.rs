//! People's keys on PKCS#11 tokens: smart cards, USB tokens, HSMs. The secret half never leaves the token.
//!
//! The vendor's library is loaded at run time; `cryptoki` is known in this module alone. Which token and key: [`TokenUri`].
//! A wrong PIN is never tried again by this program: a few of them lock a token.

use std::sync::{Mutex, PoisonError};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::{
        Mechanism,
        eddsa::{EddsaParams, EddsaSignatureScheme},
    },
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::{Slot, TokenInfo},
    types::AuthPin,
};
use wardround_signing::{PublicKey, SignError, Signer};

use super::{Pin, uri::TokenUri};
use crate::failure::{Exit, Failure};

/// Names the vendor's library where the URI does not.
const MODULE_VARIABLE: &str = "WARDROUND_PKCS11_MODULE";
/// CKA_EC_PARAMS of Ed25519: the curve's name as a PrintableString (PKCS#11 3.0, section 2.3.10).
const EDWARDS25519: &[u8] = b"\x13\x0cedwards25519";
/// The longest error text of a module that is shown, characters: cryptoki appends the standard's paragraphs.
const WORDS_MAX: usize = 120;

/// A key on a token, with its login.
pub(super) struct TokenKey {
    // A session must not be used from two threads at once.
    session: Mutex<Session>,
    key: ObjectHandle,
    public: PublicKey,
}

impl Signer for TokenKey {
    fn public(&self) -> PublicKey {
        self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        let fail = |why: String| SignError { key: self.public.id().short().to_owned(), why };
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let ed25519 = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519));
        let signature =
            session.sign(&ed25519, self.key, message).map_err(|e| fail(format!("the token: {}", words(&e))))?;
        <[u8; 64]>::try_from(signature.as_slice())
            .map_err(|_| fail(format!("the token returned {} bytes instead of a signature of 64", signature.len())))
    }
}

/// A token that was found, with the name of its library for errors.
struct Found {
    library: Pkcs11,
    slot: Slot,
    info: TokenInfo,
}

/// Whether this token wants a PIN from us; one with a PIN pad asks by itself.
pub(super) fn needs_pin(uri: &TokenUri) -> Result<bool, Failure> {
    let found = find(uri)?;
    let info = &found.info;
    if info.user_pin_locked() {
        return Err(locked(uri));
    }
    if !info.user_pin_initialized() {
        return Err(Failure::refused(format!("{} has no user PIN yet", uri.token_words()))
            .hint("set one with the vendor's tool"));
    }
    Ok(info.login_required() && !info.protected_authentication_path())
}

/// Logs in and finds the key.
pub(super) fn open(uri: &TokenUri, pin: Option<&Pin>) -> Result<TokenKey, Failure> {
    let found = find(uri)?;
    let session =
        found.library.open_ro_session(found.slot).map_err(|e| token_failure(uri, "open a session with", &e))?;
    log_in(uri, &found, &session, pin)?;
    let key = one_key(uri, &session, ObjectClass::PRIVATE_KEY)?;
    let asked = session.get_attributes(key, &[AttributeType::AlwaysAuthenticate, AttributeType::Extractable]);
    for attribute in asked.unwrap_or_default() {
        match attribute {
            Attribute::AlwaysAuthenticate(true) => {
                return Err(Failure::refused(format!("{} wants its PIN again for every signature", uri.words()))
                    .hint("that is not supported: make a key without CKA_ALWAYS_AUTHENTICATE"));
            }
            Attribute::Extractable(true) => {
                eprintln!("warning: {} can be copied off its token; a key made here can't", uri.words());
            }
            _ => {}
        }
    }
    let public = public_half(uri, &session, key)?;
    Ok(TokenKey { session: Mutex::new(session), key, public })
}

/// The public half, without a PIN.
pub(super) fn public(uri: &TokenUri) -> Result<PublicKey, Failure> {
    let found = find(uri)?;
    let session =
        found.library.open_ro_session(found.slot).map_err(|e| token_failure(uri, "open a session with", &e))?;
    let key = one_key(uri, &session, ObjectClass::PUBLIC_KEY)?;
    point(uri, &session, key)
}

/// Makes a key pair on the token; the secret half can't leave it.
pub(super) fn create(uri: &TokenUri, pin: Option<&Pin>) -> Result<PublicKey, Failure> {
    let label = uri.object.as_deref().filter(|label| !label.is_empty()).ok_or_else(|| {
        Failure::usage("a new key needs a label").hint(format!("add ;object=NAME to the URI: {uri};object=ann"))
    })?;
    let found = find(uri)?;
    let session =
        found.library.open_rw_session(found.slot).map_err(|e| token_failure(uri, "open a session with", &e))?;
    log_in(uri, &found, &session, pin)?;
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        let same = [Attribute::Class(class), Attribute::Label(label.as_bytes().to_vec())];
        let there = session.find_objects(&same).map_err(|e| token_failure(uri, "search", &e))?;
        if !there.is_empty() {
            return Err(Failure::refused(format!("{} exists; a key is never overwritten", uri.words()))
                .hint("choose another object= in the URI"));
        }
    }
    // An id of its own ties the halves together, as other programs expect.
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).map_err(|e| Failure::new(format!("no randomness: {e}")))?;
    let id = uri.id.clone().unwrap_or_else(|| random.to_vec());
    let both = [Attribute::Token(true), Attribute::Label(label.as_bytes().to_vec()), Attribute::Id(id)];
    let mut public = both.to_vec();
    public.extend([Attribute::Private(false), Attribute::Verify(true), Attribute::EcParams(EDWARDS25519.to_vec())]);
    let mut secret = both.to_vec();
    secret.extend([
        Attribute::Private(true),
        Attribute::Sign(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
    ]);
    let (public, _) =
        session.generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &public, &secret).map_err(|e| match e {
            Error::Pkcs11(RvError::MechanismInvalid, _) => {
                Failure::refused(format!("{} does not make Ed25519 keys", uri.token_words()))
                    .hint("it needs CKM_EC_EDWARDS_KEY_PAIR_GEN (PKCS#11 3.0); ask its vendor, or use a key file")
            }
            other => token_failure(uri, "make a key on", &other),
        })?;
    point(uri, &session, public)
}

fn find(uri: &TokenUri) -> Result<Found, Failure> {
    let module = match (&uri.module, std::env::var_os(MODULE_VARIABLE)) {
        (Some(path), _) => path.clone(),
        (None, Some(path)) => path.into(),
        (None, None) => {
            return Err(Failure::usage(format!("{}: no PKCS#11 library is named", uri.words()))
                .hint(format!("set {MODULE_VARIABLE}, or add ?module-path=/usr/lib/…/vendor.so to the URI")));
        }
    };
    if !module.exists() {
        return Err(Failure::with(Exit::NotFound, format!("there is no PKCS#11 library {}", module.display()))
            .hint("install the token's driver, and name the .so file that belongs to it"));
    }
    let library = Pkcs11::new(&module).map_err(|e| {
        Failure::new(format!("{} can't be loaded as a PKCS#11 library: {}", module.display(), words(&e)))
            .hint("name the .so file of the token's driver, built for this machine")
    })?;
    match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => {
            return Err(Failure::new(format!("{} does not start: {}", module.display(), words(&error))));
        }
    }
    let slots = library.get_slots_with_initialized_token().map_err(|e| token_failure(uri, "look for", &e))?;
    let mut present = Vec::new();
    let mut matching = Vec::new();
    for slot in slots {
        // A token may be pulled between the two questions.
        let Ok(info) = library.get_token_info(slot) else { continue };
        present.push(format!("{:?} (serial {:?})", info.label(), info.serial_number()));
        if fits(uri, slot, &info) {
            matching.push((slot, info));
        }
    }
    let list =
        if present.is_empty() { "no token is there".to_owned() } else { format!("there: {}", present.join(", ")) };
    match (matching.pop(), matching.is_empty()) {
        (Some((slot, info)), true) => Ok(Found { library, slot, info }),
        (None, _) => Err(Failure::with(Exit::NotFound, format!("{} is not there; {list}", uri.token_words()))
            .hint("plug it in, and compare its label with the URI")),
        (Some(_), false) => Err(Failure::usage(format!("several tokens fit {uri}; {list}"))
            .hint("add ;serial=… to the URI, so that only one fits")),
    }
}

fn fits(uri: &TokenUri, slot: Slot, info: &TokenInfo) -> bool {
    let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
    same(&uri.token, info.label())
        && same(&uri.serial, info.serial_number())
        && same(&uri.manufacturer, info.manufacturer_id())
        && same(&uri.model, info.model())
        && uri.slot.is_none_or(|wanted| wanted == slot.id())
}

fn log_in(uri: &TokenUri, found: &Found, session: &Session, pin: Option<&Pin>) -> Result<(), Failure> {
    // A file with a stale PIN must not be what locks the token.
    if found.info.user_pin_final_try() && pin.is_some_and(|pin| !pin.typed) {
        return Err(Failure::refused(format!("{} has one PIN try left", uri.token_words()))
            .hint("type the PIN by hand, without PIN file or WARDROUND_PIN; one more mistake locks the token"));
    }
    let pin = pin.map(|pin| AuthPin::new(pin.text.as_str().into()));
    match session.login(UserType::User, pin.as_ref()) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinLenRange | RvError::PinInvalid, _)) => {
            let left = found.library.get_token_info(found.slot);
            Err(match left {
                Ok(now) if now.user_pin_locked() => locked(uri),
                Ok(now) => Failure::refused(format!(
                    "the PIN of {} is wrong; {}",
                    uri.token_words(),
                    if now.user_pin_final_try() {
                        "one try is left"
                    } else if now.user_pin_count_low() {
                        "tries are left, but fewer than before"
                    } else {
                        "the token does not say how many tries are left"
                    }
                ))
                .hint("it was tried once and will not be tried again by itself"),
                Err(_) => Failure::refused(format!("the PIN of {} is wrong", uri.token_words())),
            })
        }
        Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(locked(uri)),
        Err(Error::Pkcs11(RvError::PinExpired, _)) => {
            Err(Failure::refused(format!("the PIN of {} has expired", uri.token_words()))
                .hint("change it with the vendor's tool"))
        }
        Err(error) => Err(token_failure(uri, "log in to", &error)),
    }
}

fn locked(uri: &TokenUri) -> Failure {
    Failure::refused(format!("the PIN of {} is locked", uri.token_words()))
        .hint("unlock it with the security officer's PIN and the vendor's tool")
}

/// The one Ed25519 key of that class which the URI names.
fn one_key(uri: &TokenUri, session: &Session, class: ObjectClass) -> Result<ObjectHandle, Failure> {
    let all = [Attribute::Class(class), Attribute::KeyType(KeyType::EC_EDWARDS)];
    let mut wanted = all.to_vec();
    wanted.extend(uri.object.as_ref().map(|label| Attribute::Label(label.as_bytes().to_vec())));
    wanted.extend(uri.id.clone().map(Attribute::Id));
    let find = |template: &[Attribute]| session.find_objects(template).map_err(|e| token_failure(uri, "search", &e));
    let mut found = find(&wanted)?;
    match (found.pop(), found.is_empty()) {
        (Some(key), true) => Ok(key),
        (Some(_), false) => Err(Failure::usage(format!("several Ed25519 keys fit {uri}"))
            .hint(format!("name one with ;object=… or ;id=…; there: {}", labels(session, &find(&all)?)))),
        (None, _) => {
            let there = find(&all)?;
            let there = if there.is_empty() {
                "it holds none".to_owned()
            } else {
                format!("there: {}", labels(session, &there))
            };
            Err(Failure::with(
                Exit::NotFound,
                format!("no Ed25519 key fits {} ({}); {there}", uri.words(), class_word(class)),
            )
            .hint("`wardround key create --pkcs11 URI` makes one; keys of other kinds can't sign here"))
        }
    }
}

fn class_word(class: ObjectClass) -> &'static str {
    if class == ObjectClass::PUBLIC_KEY { "public half" } else { "secret half" }
}

fn labels(session: &Session, keys: &[ObjectHandle]) -> String {
    let label = |key: &ObjectHandle| match session.get_attributes(*key, &[AttributeType::Label]).ok()?.pop()? {
        Attribute::Label(label) => Some(format!("{:?}", String::from_utf8_lossy(&label))),
        _ => None,
    };
    keys.iter().map(|key| label(key).unwrap_or_else(|| "one without a label".to_owned())).collect::<Vec<_>>().join(", ")
}

/// The public half of a secret key: the public object with the same id, else with the same label, else its own point.
fn public_half(uri: &TokenUri, session: &Session, secret: ObjectHandle) -> Result<PublicKey, Failure> {
    let asked = session.get_attributes(secret, &[AttributeType::Id, AttributeType::Label]);
    for attribute in asked.map_err(|e| token_failure(uri, "read a key of", &e))? {
        let empty = matches!(&attribute, Attribute::Id(value) | Attribute::Label(value) if value.is_empty());
        if empty {
            continue;
        }
        let public = [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::KeyType(KeyType::EC_EDWARDS), attribute];
        let found = session.find_objects(&public).map_err(|e| token_failure(uri, "search", &e))?;
        if let [key] = found[..] {
            return point(uri, session, key);
        }
    }
    point(uri, session, secret)
}

/// The public key out of CKA_EC_POINT: a DER OCTET STRING by PKCS#11 3.0, a BIT STRING or the bare bytes by some tokens.
/// A wrong one is noticed at the first signature, which is verified before it is used.
fn point(uri: &TokenUri, session: &Session, key: ObjectHandle) -> Result<PublicKey, Failure> {
    let none = || {
        Failure::refused(format!("{} does not show the public half of an Ed25519 key", uri.words()))
            .hint("keep the public key object on the token beside the secret one")
    };
    let asked =
        session.get_attributes(key, &[AttributeType::EcPoint]).map_err(|e| token_failure(uri, "read a key of", &e))?;
    let Some(Attribute::EcPoint(bytes)) = asked.into_iter().next() else { return Err(none()) };
    let raw = match bytes.as_slice() {
        [0x04, 0x20, raw @ ..] | [0x03, 0x21, 0x00, raw @ ..] if raw.len() == 32 => raw,
        raw if raw.len() == 32 => raw,
        _ => return Err(none()),
    };
    PublicKey::from_bytes(raw).map_err(|e| Failure::refused(format!("{}: {e}", uri.words())))
}

fn token_failure(uri: &TokenUri, doing: &str, error: &Error) -> Failure {
    let exit = if matches!(error, Error::Pkcs11(RvError::UserNotLoggedIn, _)) { Exit::Refused } else { Exit::Failure };
    Failure::with(exit, format!("cannot {doing} {}: {}", uri.token_words(), words(error)))
}

/// The name of the return value first; then the beginning of the standard's words about it.
fn words(error: &Error) -> String {
    let text = match error {
        Error::Pkcs11(value, function) => format!("{function} answered {value:?}"),
        other => other.to_string(),
    };
    text.chars().take(WORDS_MAX).collect()
}
