//! User objects: the application's resources, destroyed with the last reference to them.

use std::sync::{Arc, Weak};

use vgpu_protocol::cuda::{CUhostFn, CUresult};

use crate::Result;

/// What the references are to. Dropping the last one calls the destructor, on a thread of its own, since
/// whoever drops it may hold locks.
pub struct Object {
    destroy: CUhostFn,
    data: usize,
}

impl Object {
    /// An object whose destructor is not null.
    pub fn new(destroy: CUhostFn, data: usize) -> Result<Arc<Object>> {
        match destroy {
            Some(_) => Ok(Arc::new(Object { destroy, data })),
            None => Err(CUresult::INVALID_VALUE),
        }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let (Some(destroy), data) = (self.destroy, self.data) else { return };
        // SAFETY: the application passed this function for this argument, to be called once.
        let call = move || unsafe { destroy(std::ptr::with_exposed_provenance_mut(data)) };
        // Without threads the object is leaked, as if it were destroyed later.
        let _ = std::thread::Builder::new().name("vgpu-destroy".into()).spawn(call);
    }
}

/// An object as the application names it.
pub struct Named {
    object: Weak<Object>,
    /// Held as long as the application itself has references.
    own: Option<Arc<Object>>,
    references: u32,
}

impl Named {
    /// An object of which the application has `references`.
    pub fn new(object: Arc<Object>, references: u32) -> Named {
        Named { object: Arc::downgrade(&object), own: Some(object), references }
    }

    /// The object, if anybody still holds it.
    pub fn object(&self) -> Result<Arc<Object>> {
        self.object.upgrade().ok_or(CUresult::INVALID_VALUE)
    }

    /// Adds references of the application.
    pub fn retain(&mut self, count: u32) -> Result {
        let object = self.object()?;
        self.references = self.references.checked_add(count).ok_or(CUresult::INVALID_VALUE)?;
        self.own = Some(object);
        Ok(())
    }

    /// Ends references of the application.
    pub fn release(&mut self, count: u32) -> Result {
        self.object()?;
        self.references = self.references.checked_sub(count).ok_or(CUresult::INVALID_VALUE)?;
        if self.references == 0 {
            self.own = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::c_void;
    use std::sync::mpsc::{channel, Sender};

    unsafe extern "C" fn tell(data: *mut c_void) {
        // SAFETY: the test passes a leaked sender.
        unsafe { Box::from_raw(data.cast::<Sender<()>>()) }.send(()).unwrap();
    }

    #[test]
    fn test_the_destructor_runs_with_the_last_reference() {
        let (sender, receiver) = channel::<()>();
        let data = Box::into_raw(Box::new(sender)).expose_provenance();
        let mut named = Named::new(Object::new(Some(tell), data).unwrap(), 1);
        let of_a_graph = named.object().unwrap();
        assert_eq!(named.release(2), Err(CUresult::INVALID_VALUE));
        named.retain(1).unwrap();
        named.release(2).unwrap();
        assert!(named.object().is_ok() && receiver.try_recv().is_err());
        drop(of_a_graph);
        receiver.recv().unwrap();
        assert_eq!(named.retain(1), Err(CUresult::INVALID_VALUE));
    }
}
