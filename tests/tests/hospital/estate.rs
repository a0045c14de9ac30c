//! Two hospitals and their centre: every machine in a network of its own, cabled as in the real ones.

use std::{fs, net::Ipv4Addr, path::PathBuf, thread};

use wardround_tests::rig::{
    Msi, Namespace, ORTHANC_PORT, Orthanc, Scripted, SshDevice, SshOptions, Storescp, WineDevice, WineVersion, probe,
};

/// Where the controller is.
pub(crate) const CENTRE: &str = "10.0.0.1";
/// The cable between a hospital and the centre.
const LINE: &str = "wan";

use WineVersion::{Server2003, Seven, XpX64};

/// Hospital, name, Windows, ring; the place in the list is the last byte of the address.
const DEVICES: [(u8, &str, WineVersion, &str); 8] = [
    (1, "ct-1", XpX64, "canary"),
    (1, "us-1", Server2003, "pilot"),
    (1, "lab-1", XpX64, "full"),
    (1, "mr-1", Seven, "full"),
    (2, "pacs-1", Server2003, "pilot"),
    (2, "pacs-2", Seven, "pilot"),
    (2, "ws-1", XpX64, "pilot"),
    (2, "xr-1", Seven, "full"),
];

/// A device: Windows behind an sshd, on a machine of its own.
pub(crate) struct Machine {
    /// "rx1/ct-1".
    pub(crate) id: String,
    ring: &'static str,
    version: WineVersion,
    address: Ipv4Addr,
    ssh: SshDevice,
    pub(crate) windows: WineDevice,
    // Last: what runs in it ends with it.
    pub(crate) network: Namespace,
}

impl Machine {
    fn build(hospital: &Namespace, place: usize) -> Option<Self> {
        let (site, name, version, ring) = DEVICES[place];
        let address = Ipv4Addr::new(10, site, 0, 10 + u8::try_from(place).unwrap());
        let network = Namespace::create()?;
        network.plug("eth0", &format!("{address}/24"), hospital);
        let windows = network.inside(|| WineDevice::create(version))?;
        let options = SshOptions { address: Some(address), ..SshOptions::default() };
        let ssh = network.inside(|| SshDevice::windows(&windows, options))?;
        Some(Self { id: format!("rx{site}/{name}"), ring, version, address, ssh, windows, network })
    }

    fn site(&self) -> &str {
        &self.id[..3]
    }

    fn name(&self) -> &str {
        &self.id[4..]
    }

    fn declaration(&self) -> String {
        let mut text = format!(
            "  - name: {}\n    platform: \"{}\"\n    labels: {{ ring: {} }}\n    transport: {}\n    in_use: {{ command: \
             [sh, -c, \"test ! -e {} || {{ echo a radiologist is reading; exit 1; }}\"] }}\n",
            self.name(),
            self.version.platform(),
            self.ring,
            self.ssh.transport(),
            self.mark("reading").display(),
        );
        if self.name().starts_with("pacs-") {
            text.push_str("    group: pacs\n");
        }
        text
    }

    /// A mark of the rig: `reading` (somebody works with it), `slow` (a restart takes until the mark is gone), `down` (it restarts).
    pub(crate) fn mark(&self, name: &str) -> PathBuf {
        self.windows.root().join("rig").join(name)
    }

    /// Nothing of a rollout is under way on it: its node has tidied up, as it does when all is over, also a rollback.
    pub(crate) fn is_done_with(&self, rollout: &str) -> bool {
        let begin = format!("{rollout}.");
        let mut work = fs::read_dir(self.windows.file("wardround")).unwrap();
        !work.any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with(&begin))
    }

    /// Is the package on it, by its own registry?
    pub(crate) fn has(&self, package: &Msi) -> bool {
        self.windows.registry(&package.uninstall_key(), "DisplayVersion").as_deref() == Some(&package.version)
    }
}

/// All of it.
pub(crate) struct Estate {
    _archive: Orthanc,
    mirror: Storescp,
    lab: Scripted,
    /// In the order of `DEVICES`.
    pub(crate) machines: Vec<Machine>,
    /// rx1 and rx2: each with its node, its devices' switch, and a line to the centre.
    hospitals: [Namespace; 2],
    pub(crate) centre: Namespace,
}

impl Estate {
    /// `None` where a peer is missing.
    pub(crate) fn build() -> Option<Self> {
        let centre = Namespace::create()?;
        centre.switch(&format!("{CENTRE}/24"));
        let hospitals = [Namespace::create()?, Namespace::create()?];
        for (hospital, number) in hospitals.iter().zip(1..) {
            hospital.switch(&format!("10.{number}.0.1/24"));
            hospital.plug(LINE, &format!("10.0.0.{}/24", 10 + number), &centre);
        }
        let machines: Option<Vec<Machine>> = thread::scope(|scope| {
            let hospitals = &hospitals;
            let built: Vec<_> = (0..DEVICES.len())
                .map(|place| scope.spawn(move || Machine::build(&hospitals[usize::from(DEVICES[place].0) - 1], place)))
                .collect();
            built.into_iter().map(|machine| machine.join().unwrap()).collect()
        });
        let machines = machines?;
        let at = |name: &str| machines.iter().find(|machine| machine.name() == name).unwrap();
        let archive = at("pacs-1").network.inside(|| Orthanc::start_on(&at("pacs-1").windows))?;
        let mirror = at("pacs-2").network.inside(Storescp::start)?;
        let lab = at("lab-1").network.inside(|| Scripted::hl7_at(at("lab-1").address))?;
        Some(Self { _archive: archive, mirror, lab, machines, hospitals, centre })
    }

    /// "rx1" or "rx2".
    pub(crate) fn hospital(&self, site: &str) -> &Namespace {
        &self.hospitals[usize::from(site == "rx2")]
    }

    pub(crate) fn machine(&self, id: &str) -> &Machine {
        self.machines.iter().find(|machine| machine.id == id).unwrap()
    }

    pub(crate) fn of<'a>(&'a self, site: &'a str) -> impl Iterator<Item = &'a Machine> {
        self.machines.iter().filter(move |machine| machine.site() == site)
    }

    pub(crate) fn cut(&self, site: &str) {
        self.hospital(site).cut(LINE);
    }

    pub(crate) fn mend(&self, site: &str) {
        self.hospital(site).mend(LINE);
    }

    /// A site file. The two halves of the archive are one redundancy group, of which one may be disrupted at once.
    pub(crate) fn site_file(&self, site: &str) -> String {
        let devices: String = self.of(site).map(Machine::declaration).collect();
        let systems: String = self
            .probes(site)
            .map(|(name, kind, device, probe)| {
                format!(
                    "  - name: {name}\n    kind: {kind}\n    critical: true\n    devices: [{device}]\n    probes:\n      - {probe}\n"
                )
            })
            .collect();
        format!("site: {site}\ntime_zone: Etc/UTC\ngroups: {{ pacs: 1 }}\ndevices:\n{devices}systems:\n{systems}")
    }

    fn probes(&self, site: &str) -> impl Iterator<Item = (&'static str, &'static str, &'static str, String)> {
        const MESSAGE: &str = "MSH|^~\\\\&|WARDROUND|RX1|LAB|RX1|{time}||NMQ^N01|{control_id}|P|2.5\\nQRD|x";
        let at = |id: &str| self.machine(id).address;
        let dicom = |id: &str, port: u16, title: &str| {
            format!("{{ kind: dicom_echo, host: {}, port: {port}, called_ae: {title}, timeout: 15s }}", at(id))
        };
        let all = [
            (
                "rx1",
                ("lis", "lab", "lab-1", {
                    let (host, port) = (at("rx1/lab-1"), self.lab.port());
                    format!("{{ kind: hl7_mllp, host: {host}, port: {port}, message: \"{MESSAGE}\", timeout: 15s }}")
                }),
            ),
            ("rx2", ("archive", "pacs", "pacs-1", dicom("rx2/pacs-1", ORTHANC_PORT, "ORTHANC"))),
            ("rx2", ("mirror", "pacs", "pacs-2", dicom("rx2/pacs-2", self.mirror.port(), "PACS"))),
        ];
        let site = site.to_owned();
        all.into_iter().filter(move |(of, _)| *of == site).map(|(_, system)| system)
    }

    /// Whether a clinical system answers its probe now, asked from its hospital and past everything that is under test.
    pub(crate) fn answers(&self, site: &str, system: &str) -> bool {
        let (.., text) = self.probes(site).find(|(name, ..)| *name == system).unwrap();
        self.hospital(site).inside(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(probe(&text)).ok
        })
    }
}
