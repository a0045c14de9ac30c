//! The node's own program as a patch.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use super::{OWN_PLATFORM, World};

impl World {
    /// The program under test without what only debuggers read.
    #[must_use]
    pub fn packaged(&self) -> PathBuf {
        let to = self.dir().join("packaged");
        if !to.exists() {
            let done = Command::new("strip").arg("-o").arg(&to).arg(self.program()).status().unwrap();
            assert!(done.success());
        }
        to
    }

    /// Another build that does the same: some bytes follow its end.
    #[must_use]
    pub fn another_build(&self, name: &str) -> PathBuf {
        let to = self.patches().join(name);
        fs::copy(self.packaged(), &to).unwrap();
        OpenOptions::new().append(true).open(&to).unwrap().write_all(name.as_bytes()).unwrap();
        to
    }

    /// Where patches are made.
    #[must_use]
    pub fn patches(&self) -> PathBuf {
        let folder = self.dir().join("patches");
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Imports a program among the patches as a patch of its name, signed by both roles.
    #[must_use]
    pub fn own_patch(&self, program: &Path) -> String {
        let id = program.file_name().unwrap().to_str().unwrap();
        let manifest = self.patches().join(format!("{id}.yaml"));
        let text = format!(
            "id: {id}\ntitle: wardround {id}\nseverity: high\nvariants:\n  - id: x64\n    platforms: [\"{OWN_PLATFORM}\"]\n    \
             payload: {{ file: {id} }}\n    installer: {{ technology: node, version: {} }}\n",
            env!("CARGO_PKG_VERSION")
        );
        fs::write(&manifest, text).unwrap();
        self.patch_by(id, &manifest);
        id.to_owned()
    }
}
