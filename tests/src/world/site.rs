//! A site: its devices, its clinical systems and its node, a real process.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Device, Link, Process, Service, process::environment};

/// What the program of a node of these tests is.
pub const OWN_PLATFORM: &str = "cpe:2.3:a:wardround:node:*:*:*:*:*:*:x64:*";

/// How a site is built.
#[derive(Debug, Clone)]
pub struct Blueprint {
    pub(super) id: String,
    devices: Vec<(String, String, Option<String>)>,
    linked: bool,
    critical: bool,
    probe_timeout: &'static str,
    concurrency: u32,
    hours: Value,
    region: &'static str,
}

impl Blueprint {
    /// A site without devices.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            devices: Vec::new(),
            linked: false,
            critical: true,
            probe_timeout: "2s",
            concurrency: 4,
            hours: json!({ "time_zone": "Etc/UTC" }),
            region: "north",
        }
    }

    /// With a device, labelled `ring: <ring>`, that one clinical system needs: a viewer of the same name.
    #[must_use]
    pub fn device(mut self, name: &str, ring: &str) -> Self {
        self.devices.push((name.to_owned(), ring.to_owned(), None));
        self
    }

    /// With a device of the redundancy group "pair", of which one may be disrupted at once.
    #[must_use]
    pub fn paired(mut self, name: &str, ring: &str) -> Self {
        self.devices.push((name.to_owned(), ring.to_owned(), Some("pair".to_owned())));
        self
    }

    /// Its clinical systems are not critical: they count as failed after as many failures as the plan says.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.critical = false;
        self
    }

    /// Its hours: `time_zone`, `windows` and `freezes` as the site file has them; without it the clock is UTC's.
    #[must_use]
    pub fn hours(mut self, hours: Value) -> Self {
        self.hours = hours;
        self
    }

    /// In this region; without it in "north".
    #[must_use]
    pub fn region(mut self, region: &'static str) -> Self {
        self.region = region;
        self
    }

    /// Probes give up after this time.
    #[must_use]
    pub fn probe_timeout(mut self, timeout: &'static str) -> Self {
        self.probe_timeout = timeout;
        self
    }

    /// Its node reaches the controller over a [`Link`].
    #[must_use]
    pub fn linked(mut self) -> Self {
        self.linked = true;
        self
    }
}

/// A site with its node.
pub struct Site {
    /// Id.
    pub id: String,
    /// Devices, in the order of the blueprint.
    pub devices: Vec<Device>,
    /// The link, if it was asked for.
    pub link: Option<Link>,
    /// The node's process.
    pub node: Option<Process>,
    /// What the node finds in its environment from its next start on.
    pub environment: Vec<(String, String)>,
    state: PathBuf,
    file: PathBuf,
    log: PathBuf,
}

impl Site {
    /// Lays out the files of a site whose node will talk to the controller at this port.
    #[must_use]
    pub fn build(dir: &Path, plan: &Blueprint, service: &Service, controller: u16) -> Self {
        let sites = dir.join("sites");
        let devices: Vec<Device> = plan
            .devices
            .iter()
            .map(|(name, ring, group)| Device::new(&sites, &plan.id, name, ring, group.as_deref()))
            .collect();
        let systems: Vec<Value> = devices
            .iter()
            .map(|device| {
                json!({
                    "name": format!("{}-viewer", device.name()), "kind": "viewer", "critical": plan.critical,
                    "devices": [device.name()],
                    "probes": [{ "kind": "http", "url": service.url(&device.id), "timeout": plan.probe_timeout }],
                })
            })
            .collect();
        let mut declared = json!({
            "site": plan.id, "display_name": format!("Site {}", plan.id), "region": plan.region,
            "concurrency_max": plan.concurrency,
            "devices": devices.iter().map(Device::declaration).collect::<Vec<_>>(), "systems": systems,
        });
        put_hours(&mut declared, &plan.hours);
        if plan.devices.iter().any(|(_, _, group)| group.is_some()) {
            declared["groups"] = json!({ "pair": 1 });
        }
        // JSON is YAML 1.2, and needs no writer of our own.
        let mut site = Self::declared(dir, &plan.id, &serde_json::to_string_pretty(&declared).unwrap());
        site.devices = devices;
        site.link = plan.linked.then(|| Link::to(controller));
        site
    }

    /// A site by the text of its file; its devices are not ours to look into.
    #[must_use]
    pub fn declared(dir: &Path, id: &str, yaml: &str) -> Self {
        let file = dir.join(format!("{id}.yaml"));
        std::fs::write(&file, yaml).unwrap();
        Self {
            id: id.to_owned(),
            devices: Vec::new(),
            link: None,
            node: None,
            environment: Vec::new(),
            state: dir.join(format!("node-{id}")),
            file,
            log: dir.join(format!("node-{id}.log")),
        }
    }

    /// The node's state directory.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The site file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Takes a device and what it serves out of the site file; its own files stay.
    pub fn drop_device(&self, name: &str) {
        self.edit(|declared| {
            let without = |list: &mut Value, gone: &str| {
                list.as_array_mut().unwrap().retain(|entry| entry["name"] != gone);
            };
            without(&mut declared["devices"], name);
            without(&mut declared["systems"], &format!("{name}-viewer"));
        });
    }

    /// Adds the node's own program to the site's devices, as "node".
    pub fn declare_own(&self, ring: &str) {
        self.edit(|declared| {
            let own = json!({
                "name": "node", "platform": OWN_PLATFORM, "labels": { "ring": ring }, "transport": { "kind": "node" },
            });
            declared["devices"].as_array_mut().unwrap().push(own);
        });
    }

    /// Writes other hours into the site file.
    pub fn set_hours(&self, hours: &Value) {
        self.edit(|declared| put_hours(declared, hours));
    }

    /// Adds fields to a device's entry.
    pub fn declare(&self, name: &str, fields: &Value) {
        self.edit(|declared| {
            let entry = declared["devices"].as_array_mut().unwrap().iter_mut().find(|entry| entry["name"] == name);
            entry.unwrap().as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        });
    }

    /// Writes another bandwidth into the site file.
    pub fn set_bandwidth(&self, bandwidth: &Value) {
        self.edit(|declared| declared["bandwidth"] = bandwidth.clone());
    }

    /// Changes the site file; the node reads it within seconds.
    fn edit(&self, change: impl FnOnce(&mut Value)) {
        let mut declared: Value = serde_json::from_slice(&std::fs::read(&self.file).unwrap()).unwrap();
        change(&mut declared);
        // Never half a file under the node's eyes.
        let new = self.file.with_extension("new");
        std::fs::write(&new, serde_json::to_string_pretty(&declared).unwrap()).unwrap();
        std::fs::rename(&new, &self.file).unwrap();
    }

    /// A device by its name.
    #[must_use]
    pub fn device(&self, name: &str) -> &Device {
        self.devices.iter().find(|d| d.name() == name).unwrap()
    }

    /// The node's process.
    pub fn node(&mut self) -> &mut Process {
        self.node.as_mut().unwrap()
    }

    /// Starts the node, for the first time or again.
    pub fn start_node(&mut self, program: &Path) {
        self.node = None;
        self.node = Some(self.start("run", program, &self.state, &self.log));
    }

    /// Starts the node's supervisor, which starts the node; `program` is the packaged one.
    pub fn start_supervised(&mut self, program: &Path) {
        self.node = None;
        self.node = Some(self.start("supervise", program, &self.state, &self.log));
    }

    /// Starts a second node with a copy of this one's state, as a cloned virtual machine does: same identity, same devices.
    ///
    /// # Panics
    /// When this site's node runs: its state would be copied half.
    #[must_use]
    pub fn start_twin(&self, program: &Path) -> Process {
        assert!(self.node.is_none(), "stop the node of {} first", self.id);
        let state = self.state.with_extension("twin");
        let copied = std::process::Command::new("cp").arg("-a").args([&self.state, &state]).status().unwrap();
        assert!(copied.success(), "cp: {copied}");
        self.start("run", program, &state, &self.log.with_extension("twin.log"))
    }

    fn start(&self, verb: &str, program: &Path, state: &Path, log: &Path) -> Process {
        let args = [
            "node".as_ref(),
            verb.as_ref(),
            "--state".as_ref(),
            state.as_os_str(),
            "--site".as_ref(),
            self.file.as_os_str(),
            "--stop-with-stdin".as_ref(),
        ];
        Process::start(&format!("node {}", self.id), program, args, &environment(&self.environment), log)
    }
}

fn put_hours(declared: &mut Value, hours: &Value) {
    for field in ["time_zone", "windows", "freezes"] {
        match hours.get(field) {
            Some(value) => declared[field] = value.clone(),
            None => drop(declared.as_object_mut().unwrap().remove(field)),
        }
    }
}
