//! What outlives sessions and changes of the configuration: people who are known by an id, and people who are looked up
//! without a password.

use jiff::Timestamp;

use super::{Depth, EntryModule, LoginEntry, Standing, guarded};
use crate::auth::subject::{Proof, Subject};

impl LoginEntry {
    /// The subject as the modules as they are configured now would have proved it; `None` where nobody can say. An id that
    /// is worldwide tells the person whatever else changed; otherwise the same directories must be asked, wherever they
    /// stand in the stack. For what outlives a change of the configuration.
    pub fn adopt(&self, subject: &Subject) -> Option<Subject> {
        let is_known = subject.proofs.iter().find(|proof| proof.source_id.is_some());
        let is_known = is_known.is_some_and(|proof| self.has_worldwide_ids(proof));
        let mut proofs = Vec::new();
        for proof in &subject.proofs {
            let place = self.place_of(proof).or_else(|| {
                let class = || self.modules.iter().position(|module| module.class == proof.class);
                is_known.then(class).flatten()
            });
            match place {
                Some(module) => {
                    proofs.push(Proof { module, settings: self.settings_of(module), ..proof.clone() });
                }
                None if is_known => {}
                None => return None,
            }
        }
        Subject::from_proofs(proofs)
    }

    /// Where the module stands that proved this, configured as it was then: where it stood, or elsewhere.
    fn place_of(&self, proof: &Proof) -> Option<usize> {
        let is_it = |place: &usize| {
            let module = self.modules.get(*place);
            module.is_some_and(|module| module.class == proof.class && module.settings == proof.settings)
        };
        Some(proof.module).filter(is_it).or_else(|| (0..self.modules.len()).find(is_it))
    }

    /// Whether the id in this proof names one person whichever directory of that kind is asked.
    pub fn has_worldwide_ids(&self, proof: &Proof) -> bool {
        let of_class = |module: &&EntryModule| module.class == proof.class;
        let settled = self.modules.get(proof.module).filter(of_class);
        let module = settled.or_else(|| self.modules.iter().find(of_class));
        proof.source_id.is_some() && module.is_some_and(|module| module.module.has_worldwide_ids())
    }

    /// What the module that proved this, configured as it was then, says of its user now. `None` where it is not there, or
    /// cannot be asked without a password.
    pub async fn ask_again(&self, proof: &Proof, now: Timestamp) -> Option<Standing> {
        self.modules.get(self.place_of(proof)?)?.standing(proof, Depth::Full, now).await
    }

    /// Whom the modules name without a password: for an administrator's word on who somebody is. `None` where none can.
    ///
    /// # Errors
    /// Why a module could not be asked: what the others say is not the whole of it.
    pub async fn look_up(&self, user: &str, now: Timestamp) -> Result<Option<Subject>, String> {
        let mut proofs = Vec::new();
        for (place, entry) in self.modules.iter().enumerate() {
            let Some(recheck) = entry.module.recheck() else { continue };
            let user = proofs.first().map_or(user, |proof: &Proof| &proof.user).to_owned();
            match guarded(recheck.recheck(&user, now)).await {
                Some(Standing::Current(identity)) => {
                    proofs.push(Proof { settings: entry.settings.clone(), ..Proof::new(place, identity) });
                }
                Some(Standing::Gone(_) | Standing::Absent(_)) => {}
                Some(Standing::Unknown(why)) => return Err(why),
                None => return Err(format!("{} crashed", entry.class)),
            }
        }
        let only_adds = |proof: &Proof| self.modules.get(proof.module).is_none_or(|entry| entry.module.only_adds());
        let is_vouched = !proofs.iter().all(only_adds);
        Ok(Subject::from_proofs(proofs).filter(|_| is_vouched))
    }
}
