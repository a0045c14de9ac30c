//! Real payloads: Windows Installer packages and the stand-in for update.exe.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use wardround_rollout_plans::model::{CHUNK_BYTES, Installer, Payload, Platform, Variant, VariantId};
use wardround_signing::Digest;

use super::{WineDevice, cache_dir, peer_file, require};

/// A Windows Installer package.
#[derive(Debug, Clone)]
pub struct Msi {
    /// The package file.
    pub path: PathBuf,
    /// Its product code, in braces.
    pub product_code: String,
    /// Its version.
    pub version: String,
    /// Its name: also its folder and registry key.
    pub name: String,
}

impl Msi {
    /// Builds a package with wixl into `dir`; `None` where wixl is missing. `number` makes the product code.
    ///
    /// # Panics
    /// When wixl fails.
    #[must_use]
    pub fn build(dir: &Path, name: &str, number: u32, version: &str) -> Option<Self> {
        require("wixl")?;
        fs::write(dir.join("driver.dll"), format!("driver {version}")).expect("the directory is writable");
        let path = dir.join(format!("{name}-{version}.msi"));
        let product = Self::pack(dir, &path, (name, number, version), "driver.dll");
        Some(Self { path, product_code: format!("{{{product}}}"), version: version.into(), name: name.into() })
    }

    /// A package whose service takes the port of Orthanc as soon as nobody has it (`tests/peers/licence.c`); `None` where wixl or
    /// the compiler is missing.
    ///
    /// # Panics
    /// When one of them fails.
    #[must_use]
    pub fn build_bad(dir: &Path, name: &str, number: u32, version: &str) -> Option<Self> {
        require("wixl")?;
        let program = compiled("licence.c", "licence", &["-lws2_32".to_owned()])?;
        fs::copy(program, dir.join("licence.exe")).expect("the directory is writable");
        let path = dir.join(format!("{name}-{version}.msi"));
        let product = Self::pack_by("service.wxs", dir, &path, (name, number, version), "licence.exe");
        Some(Self { path, product_code: format!("{{{product}}}"), version: version.into(), name: name.into() })
    }

    /// Packs the file `source` of `dir`, in a compressed cabinet; says the product code. wixl must be there.
    ///
    /// # Panics
    /// When wixl fails.
    pub fn pack(dir: &Path, path: &Path, named: (&str, u32, &str), source: &str) -> String {
        Self::pack_by("package.wxs", dir, path, named, source)
    }

    fn pack_by(
        form: &str,
        dir: &Path,
        path: &Path,
        (name, number, version): (&str, u32, &str),
        source: &str,
    ) -> String {
        let product = format!("1A2B3C4D-0000-4000-8000-{number:012X}");
        let component = format!("1A2B3C4D-0000-4000-9000-{number:012X}");
        // wixl looks for sources below its own directory only.
        let mut command = Command::new("wixl");
        command.current_dir(dir).args(["-a", "x64"]);
        for (key, value) in [
            ("ProductCode", product.as_str()),
            ("ComponentCode", &component),
            ("Name", name),
            ("Version", version),
            ("Source", source),
        ] {
            command.arg("-D").arg(format!("{key}={value}"));
        }
        let output = command.arg("-o").arg(path).arg(peer_file(form)).output().expect("wixl runs");
        assert!(output.status.success() && path.is_file(), "wixl: {}", String::from_utf8_lossy(&output.stderr));
        product
    }

    /// As a variant of a patch.
    #[must_use]
    pub fn variant(&self, platform: &str) -> Variant {
        let installer = Installer::Msi {
            product_code: self.product_code.clone(),
            display_version: Some(self.version.clone()),
            properties: Vec::new(),
        };
        variant(&self.path, installer, platform)
    }

    /// The registry key that Windows Installer keeps for it.
    #[must_use]
    pub fn uninstall_key(&self) -> String {
        format!(r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall\{}", self.product_code)
    }
}

/// Stands for wusa, pkgmgr and DISM on a device (`tests/peers/servicing.c`). A payload for them is two lines of text.
#[derive(Debug)]
pub struct Servicing;

impl Servicing {
    /// Puts the stand-ins into the device's Windows folder; `None` where the compiler is missing.
    ///
    /// # Panics
    /// When the compiler fails.
    #[must_use]
    pub fn install(device: &WineDevice) -> Option<Self> {
        let program = compiled("servicing.c", "servicing", &[])?;
        for tool in ["wusa.exe", "pkgmgr.exe", "dism.exe"] {
            put_program(device, &program, tool);
        }
        Some(Self)
    }
}

/// Puts a program of ours into the device's Windows folder, in place of Wine's own.
fn put_program(device: &WineDevice, program: &Path, name: &str) {
    let path = device.file("windows/system32").join(name);
    // Wine's own is a link into its library, or one file with all other devices.
    let _ = fs::remove_file(&path);
    fs::copy(program, &path).expect("the device is writable");
    let native = ["reg", "add", r"HKCU\Software\Wine\DllOverrides", "/v", name, "/d", "native", "/f"];
    assert!(device.run(&native).status.success(), "{name} is taken from the device");
}

/// A write filter on a device that restarts through SSH (`tests/peers/filter.sh`, `filter.c`): on from the beginning, and what is
/// written while it is on is gone with the next restart.
#[derive(Debug)]
pub struct Filter {
    state: PathBuf,
}

impl Filter {
    /// `kind` is "ewf" or "fbwf"; `None` where the compiler is missing.
    ///
    /// # Panics
    /// When the device can't be prepared.
    #[must_use]
    pub fn install(device: &WineDevice, kind: &str) -> Option<Self> {
        let program = compiled("filter.c", "filter", &[])?;
        put_program(device, &program, &format!("{kind}mgr.exe"));
        let key = format!(r"HKLM\SYSTEM\CurrentControlSet\Services\{}", kind.to_uppercase());
        let driver = ["reg", "add", &key, "/v", "Start", "/t", "REG_DWORD", "/d", "0", "/f"];
        assert!(device.run(&driver).status.success(), "the filter's driver is there");
        let state = device.root().join("rig/filter");
        let named = format!("Z:{}\r\n", state.display().to_string().replace('/', r"\"));
        fs::write(device.file("windows/filter.txt"), named).expect("the device is writable");
        let begun = Command::new(peer_file("filter.sh")).arg(device.root()).arg("install").status();
        assert!(begun.is_ok_and(|status| status.success()), "filter.sh prepares the device");
        Some(Self { state })
    }

    /// Whether it protects the device now.
    ///
    /// # Panics
    /// When its state can't be read.
    #[must_use]
    pub fn is_on(&self) -> bool {
        fs::read_to_string(self.state.join("now")).expect("it is there").trim() == "on"
    }

    /// From now on it can't be set, or again.
    ///
    /// # Panics
    /// When that can't be written.
    pub fn stick(&self, stuck: bool) {
        let mark = self.state.join("stuck");
        let done = if stuck { fs::write(mark, "") } else { fs::remove_file(mark) };
        done.expect("the rig's folder is writable");
    }

    /// How often the device restarted.
    ///
    /// # Panics
    /// When that can't be read.
    #[must_use]
    pub fn restarts(&self) -> usize {
        fs::read_to_string(self.state.join("restarts")).expect("it is there").lines().count()
    }
}

/// A program for 64-bit Windows out of `tests/peers`, compiled once, also where several tests want it at once; `None` where the
/// compiler is missing.
fn compiled(source: &str, name: &str, flags: &[String]) -> Option<PathBuf> {
    let compiler = require("x86_64-w64-mingw32-gcc")?;
    let source = peer_file(source);
    let digest = Digest::of(&fs::read(&source).expect("the source is there")).hex();
    let path = cache_dir().join(format!("{name}-{}.exe", &digest[..8]));
    if !path.is_file() {
        // One of one's own: another test may be writing the same program just now.
        let part = tempfile::NamedTempFile::new_in(cache_dir()).expect("the cache is writable").into_temp_path();
        let output = Command::new(compiler)
            .args(["-O1", "-s", "-o"])
            .arg(&part)
            .arg(&source)
            // Libraries come after what needs them.
            .args(flags)
            .output()
            .expect("the compiler runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        part.persist(&path).expect("it is moved into place");
    }
    Some(path)
}

/// A Windows software update package (a stand-in, `tests/peers/hotfix.c`).
#[derive(Debug, Clone)]
pub struct Hotfix {
    /// The program.
    pub path: PathBuf,
    /// KB number with its letters.
    pub kb: String,
}

impl Hotfix {
    /// Compiles it, or takes the one that was compiled before; `None` where the compiler is missing.
    ///
    /// # Panics
    /// When the compiler fails.
    #[must_use]
    pub fn build(kb: &str) -> Option<Self> {
        let flags = [format!("-DKB=\"{kb}\"")];
        let path = compiled("hotfix.c", &format!("windowsserver2003-{kb}-x64"), &flags)?;
        Some(Self { path, kb: kb.into() })
    }

    /// As a variant of a patch, with extra switches ("/hold", "/fail", "/lie").
    #[must_use]
    pub fn variant(&self, platform: &str, switches: &[&str]) -> Variant {
        let switches = switches.iter().map(|s| (*s).to_owned()).collect();
        variant(&self.path, Installer::Hotfix { kb: self.kb.clone(), switches }, platform)
    }

    /// The registry key that it leaves.
    #[must_use]
    pub fn key(&self) -> String {
        format!(r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\HotFix\{}", self.kb)
    }
}

/// A variant around any payload file.
///
/// # Panics
/// When the file can't be read or the platform is no CPE name.
#[must_use]
pub fn variant(path: &Path, installer: Installer, platform: &str) -> Variant {
    let bytes = fs::read(path).expect("the payload is readable");
    let chunk = usize::try_from(CHUNK_BYTES).expect("it fits");
    Variant::new(
        VariantId::new("v1").expect("it is valid"),
        vec![Platform::new(platform).expect("it is a CPE name")],
        Payload {
            file_name: path.file_name().and_then(|n| n.to_str()).expect("a plain name").to_owned(),
            digest: Digest::of(&bytes),
            length: bytes.len() as u64,
            chunks: bytes.chunks(chunk).map(Digest::of).collect(),
            sizes: Vec::new(),
        },
        installer,
    )
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Barrier, thread};

    use super::compiled;

    #[test]
    fn tests_that_want_a_program_at_once_all_get_it_whole() {
        let name = format!("at-once-{}", std::process::id());
        let start = Barrier::new(4);
        let one = || {
            start.wait();
            let path = compiled("hotfix.c", &name, &["-DKB=\"KB1\"".into()])?;
            Some((path.clone(), fs::read(path).expect("the program is there")))
        };
        let all = thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
            all.into_iter().map(|one| one.join().expect("it gets its program")).collect::<Vec<_>>()
        });
        for got in all.into_iter().flatten() {
            assert!(got.1.len() > 10_000 && got.1.starts_with(b"MZ"), "a part of a program: {} bytes", got.1.len());
            let _ = fs::remove_file(got.0);
        }
    }
}
