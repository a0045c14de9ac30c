//! Key files, ours and OpenSSL's.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use ed25519_dalek::pkcs8::{KeypairBytes, PublicKeyBytes};
use pkcs8::{EncodePrivateKey as _, LineEnding, pkcs5::pbes2};

use super::key;
use crate::{KeyFileError, PublicKey, SecretKey, Signer as _};

const PASSPHRASE: &str = "correct horse battery";

#[test]
fn what_is_written_is_read_back() {
    let secret = SecretKey::generate().unwrap();
    let pem = secret.to_encrypted_pem(PASSPHRASE).unwrap();
    assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "{}", *pem);
    assert_eq!(SecretKey::from_encrypted_pem(&pem, PASSPHRASE).unwrap().public(), secret.public());
    let plain = secret.to_plain_pem().unwrap();
    assert_eq!(SecretKey::from_plain_pem(&plain).unwrap().public(), secret.public());
    assert_ne!(*pem, *secret.to_encrypted_pem(PASSPHRASE).unwrap(), "salted");
}

#[test]
fn a_wrong_passphrase_is_called_so() {
    let pem = key(1).to_encrypted_pem(PASSPHRASE).unwrap();
    for wrong in ["", "correct horse batterz", "Correct horse battery", "correct horse battery "] {
        assert_eq!(SecretKey::from_encrypted_pem(&pem, wrong).unwrap_err(), KeyFileError::Passphrase, "{wrong:?}");
    }
}

/// AES-CBC has no checksum: one wrong passphrase in 256 leaves well-formed padding. Cheap rounds, so that many can be tried.
#[test]
fn a_wrong_passphrase_is_called_so_even_when_its_padding_is_right() {
    let mut pads_right = 0;
    let der = KeypairBytes { secret_key: [7; 32], public_key: None }.to_pkcs8_der().unwrap();
    let parameters = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(1, b"0123456789abcdef", [0; 16]).unwrap();
    let encrypted = parameters.encrypt(PASSPHRASE, der.as_bytes()).unwrap();
    for n in 0..2_000 {
        let wrong = format!("wrong {n}");
        pads_right += u32::from(parameters.decrypt(&wrong, &encrypted).is_ok());
        let info = pkcs8::EncryptedPrivateKeyInfoRef {
            encryption_algorithm: parameters.clone().into(),
            encrypted_data: pkcs8::der::asn1::OctetStringRef::new(&encrypted).unwrap(),
        };
        let pem = pem_of(&info);
        assert_eq!(SecretKey::from_encrypted_pem(&pem, &wrong).unwrap_err(), KeyFileError::Passphrase, "{wrong}");
    }
    assert!(pads_right > 0, "the case was never met");
}

fn pem_of(info: &pkcs8::EncryptedPrivateKeyInfoRef<'_>) -> String {
    pkcs8::SecretDocument::encode_msg(info)
        .unwrap()
        .to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF)
        .unwrap()
        .to_string()
}

#[test]
fn short_passphrases_are_refused_for_new_files() {
    assert_eq!(key(1).to_encrypted_pem("fourteen chars").unwrap_err(), KeyFileError::PassphraseTooShort);
    assert_eq!(key(1).to_encrypted_pem(&"ü".repeat(14)).unwrap_err(), KeyFileError::PassphraseTooShort);
    assert!(key(1).to_encrypted_pem("fifteen chars..").is_ok());
}

#[test]
fn other_files_are_told_apart() {
    let form = |pem: &str| match SecretKey::from_encrypted_pem(pem, PASSPHRASE) {
        Err(KeyFileError::Form(why)) => why,
        other => panic!("{other:?}"),
    };
    form("");
    form("not PEM at all");
    let pem = key(1).to_encrypted_pem(PASSPHRASE).unwrap();
    form(&pem[..pem.len() / 2]);
    assert!(form(&key(1).to_plain_pem().unwrap()).contains("PRIVATE KEY"));
    assert!(SecretKey::from_plain_pem(&pem).is_err());
}

/// RFC 5958 files may carry the public key: one that is not the secret's own would make signatures that nobody can verify.
#[test]
fn a_public_key_that_is_not_the_secrets_own_is_refused() {
    let pair = |public: PublicKey| {
        KeypairBytes { secret_key: [1; 32], public_key: Some(PublicKeyBytes(public.to_bytes())) }
            .to_pkcs8_encrypted_pem(PASSPHRASE, LineEnding::LF)
            .unwrap()
    };
    assert!(SecretKey::from_encrypted_pem(&pair(key(1).public()), PASSPHRASE).is_ok());
    assert!(matches!(SecretKey::from_encrypted_pem(&pair(key(2).public()), PASSPHRASE), Err(KeyFileError::Form(_))));
}

/// The file says how costly its passphrase is: 2^31 × 1 KiB of memory is not granted.
#[test]
fn a_file_cannot_ask_for_all_of_the_memory() {
    let mut parameters = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(1, b"0123456789abcdef", [0; 16]).unwrap();
    let der = KeypairBytes { secret_key: [7; 32], public_key: None }.to_pkcs8_der().unwrap();
    let encrypted = parameters.encrypt(PASSPHRASE, der.as_bytes()).unwrap();
    let salt = parameters.kdf.pbkdf2().unwrap().salt;
    let scrypt = |cost_parameter, parallelization| {
        pbes2::Kdf::Scrypt(pbes2::ScryptParams {
            salt,
            cost_parameter,
            block_size: 8,
            parallelization,
            key_length: None,
        })
    };
    let mut rounds = *parameters.kdf.pbkdf2().unwrap();
    rounds.iteration_count = 50_000_000;
    for kdf in [scrypt(1 << 31, 1), scrypt(1 << 14, 1_000), pbes2::Kdf::Pbkdf2(rounds)] {
        parameters.kdf = kdf;
        let info = pkcs8::EncryptedPrivateKeyInfoRef {
            encryption_algorithm: parameters.clone().into(),
            encrypted_data: pkcs8::der::asn1::OctetStringRef::new(&encrypted).unwrap(),
        };
        match SecretKey::from_encrypted_pem(&pem_of(&info), PASSPHRASE) {
            Err(KeyFileError::Form(why)) => assert!(why.contains("asks for"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

/// Runs OpenSSL with `input`; `None` where it is not installed, which CI turns into a failure.
fn openssl(arguments: &[&str], input: &str) -> Option<String> {
    let started = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            let required = std::env::var_os("WARDROUND_REQUIRE_PEERS").is_some_and(|v| v == "1");
            assert!(!required, "openssl is needed and can't be run: {error}");
            println!("skipped: openssl can't be run: {error}");
            return None;
        }
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// The raw public key at the end of a SubjectPublicKeyInfo in PEM (RFC 8410, section 4).
fn raw_public(spki_pem: &str) -> Vec<u8> {
    let (label, document) = pkcs8::Document::from_pem(spki_pem).unwrap();
    assert_eq!(label, "PUBLIC KEY");
    document.as_bytes()[document.as_bytes().len() - 32..].to_vec()
}

#[test]
fn openssl_reads_ours() {
    let secret = SecretKey::generate().unwrap();
    for (pem, arguments) in [
        (
            secret.to_encrypted_pem(PASSPHRASE).unwrap(),
            vec!["pkey", "-pubout", "-passin", "pass:correct horse battery"],
        ),
        (secret.to_plain_pem().unwrap(), vec!["pkey", "-pubout"]),
    ] {
        let Some(public) = openssl(&arguments, &pem) else { return };
        assert_eq!(raw_public(&public), secret.public().to_bytes());
    }
}

#[test]
fn ours_reads_openssls() {
    let Some(plain) = openssl(&["genpkey", "-algorithm", "ed25519"], "") else { return };
    let public = raw_public(&openssl(&["pkey", "-pubout"], &plain).unwrap());
    assert_eq!(SecretKey::from_plain_pem(&plain).unwrap().public().to_bytes()[..], public);
    let encrypt = ["pkcs8", "-topk8", "-passout", "pass:correct horse battery"];
    for how in [
        &["-scrypt"][..],
        &["-v2", "aes-256-cbc"],
        &["-v2", "aes-256-cbc", "-iter", "100000", "-v2prf", "hmacWithSHA512"],
    ] {
        let pem = openssl(&[&encrypt, how].concat(), &plain).unwrap();
        let read = SecretKey::from_encrypted_pem(&pem, PASSPHRASE).unwrap();
        assert_eq!(read.public().to_bytes()[..], public, "{how:?}");
        assert_eq!(SecretKey::from_encrypted_pem(&pem, "another passphrase").unwrap_err(), KeyFileError::Passphrase);
    }
}

#[test]
fn a_key_of_another_kind_is_called_so() {
    let Some(plain) = openssl(&["genpkey", "-algorithm", "x25519"], "") else { return };
    let pem = openssl(&["pkcs8", "-topk8", "-scrypt", "-passout", "pass:correct horse battery"], &plain).unwrap();
    assert_eq!(SecretKey::from_encrypted_pem(&pem, PASSPHRASE).unwrap_err(), KeyFileError::NotEd25519);
    assert!(SecretKey::from_plain_pem(&plain).is_err());
}

/// A signature of ours as OpenSSL sees it.
#[test]
fn openssl_verifies_ours() {
    let Some(version) = openssl(&["version"], "") else { return };
    let dir = std::env::temp_dir().join(format!("wardround-signing-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let message = b"a message of the usual kind";
    let public = openssl(&["pkey", "-pubout"], &key(3).to_plain_pem().unwrap()).unwrap();
    std::fs::write(path("public.pem"), public).unwrap();
    std::fs::write(path("message"), message).unwrap();
    std::fs::write(path("signature"), key(3).sign(message).unwrap()).unwrap();
    let (key, input, signature) = (path("public.pem"), path("message"), path("signature"));
    let answer =
        openssl(&["pkeyutl", "-verify", "-pubin", "-inkey", &key, "-rawin", "-in", &input, "-sigfile", &signature], "")
            .unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(answer.contains("Verified Successfully"), "{version}: {answer}");
}
