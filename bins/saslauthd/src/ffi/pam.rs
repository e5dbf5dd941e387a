//! PAM: authentication and account rules by `libpam.so.0`.
//!
//! To be called in a process that may be lost: modules are C code of others.

use std::ffi::{CString, c_char, c_int, c_void};
use std::{mem, ptr};

use zeroize::Zeroize;

use super::library::{Library, LoadError};

const PAM_SUCCESS: c_int = 0;
const PAM_BUF_ERR: c_int = 5;
const PAM_CONV_ERR: c_int = 19;
/// No messages: there is nobody to read them.
const PAM_SILENT: c_int = 0x8000;
const PAM_PROMPT_ECHO_OFF: c_int = 1;
const PAM_PROMPT_ECHO_ON: c_int = 2;
const PAM_ERROR_MSG: c_int = 3;
const PAM_TEXT_INFO: c_int = 4;
/// The most messages that Linux-PAM passes at once (PAM_MAX_NUM_MSG).
const MESSAGES_LIMIT: usize = 32;

/// `struct pam_message`.
#[repr(C)]
struct Message {
    style: c_int,
    text: *const c_char,
}

/// `struct pam_response`; PAM frees the text and the array.
#[repr(C)]
struct Response {
    text: *mut c_char,
    unused: c_int,
}

/// `struct pam_conv`.
#[repr(C)]
struct Conversation {
    converse: extern "C" fn(c_int, *mut *const Message, *mut *mut Response, *mut c_void) -> c_int,
    answers: *mut c_void,
}

type Start = unsafe extern "C" fn(
    *const c_char,
    *const c_char,
    *const Conversation,
    *mut *mut c_void,
) -> c_int;
type Step = unsafe extern "C" fn(*mut c_void, c_int) -> c_int;

/// libpam, loaded.
pub struct Pam {
    start: Start,
    authenticate: Step,
    acct_mgmt: Step,
    end: Step,
}

impl std::fmt::Debug for Pam {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pam")
    }
}

/// The call that said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// `pam_start`: no memory, or a service that PAM can't set up.
    Start,
    /// `pam_authenticate`: unknown, wrong, or an error of a module.
    Authenticate,
    /// `pam_acct_mgmt`: right, but not now or not any more.
    Account,
}

/// What the modules may ask for.
struct Answers {
    login: CString,
    password: CString,
}

impl Drop for Answers {
    fn drop(&mut self) {
        mem::take(&mut self.password).into_bytes().zeroize();
    }
}

impl Pam {
    /// Loads libpam.
    ///
    /// # Errors
    /// The system has none.
    pub fn load() -> Result<Self, LoadError> {
        let library = Library::open(&[c"libpam.so.0", c"libpam.so"])?;
        let step = |name| {
            let found = library.symbol(name)?;
            // SAFETY: pam_authenticate, pam_acct_mgmt and pam_end all have this type.
            Ok::<_, LoadError>(unsafe { mem::transmute::<*mut c_void, Step>(found.as_ptr()) })
        };
        let start = library.symbol(c"pam_start")?;
        Ok(Pam {
            // SAFETY: pam_start(3) has this type.
            start: unsafe { mem::transmute::<*mut c_void, Start>(start.as_ptr()) },
            authenticate: step(c"pam_authenticate")?,
            acct_mgmt: step(c"pam_acct_mgmt")?,
            end: step(c"pam_end")?,
        })
    }

    /// Asks PAM's rules for `service` whether this password lets this login in.
    ///
    /// # Errors
    /// The call that said no.
    pub fn check(&mut self, service: &[u8], login: &[u8], password: &[u8]) -> Result<(), Denied> {
        let string = |octets: &[u8]| CString::new(octets).map_err(|_| Denied::Start);
        let service = string(service)?;
        let answers = Answers {
            login: string(login)?,
            password: string(password)?,
        };
        let conversation = Conversation {
            converse,
            answers: ptr::from_ref(&answers).cast_mut().cast(),
        };
        let mut handle = ptr::null_mut();
        // SAFETY: the strings and the conversation outlive the handle, which
        // pam_end closes below; `converse` reads `answers` as what it is.
        let code = unsafe {
            (self.start)(
                service.as_ptr(),
                answers.login.as_ptr(),
                &conversation,
                &mut handle,
            )
        };
        if code != PAM_SUCCESS || handle.is_null() {
            return Err(Denied::Start);
        }
        let step = |step: Step, denied| {
            // SAFETY: the handle is open.
            match unsafe { step(handle, PAM_SILENT) } {
                PAM_SUCCESS => Ok(()),
                code => Err((denied, code)),
            }
        };
        let result = step(self.authenticate, Denied::Authenticate)
            .and_then(|()| step(self.acct_mgmt, Denied::Account));
        let last = result.map_or_else(|(_, code)| code, |()| PAM_SUCCESS);
        // SAFETY: the handle is open, and nobody uses it after this.
        unsafe { (self.end)(handle, last) };
        result.map_err(|(denied, _)| denied)
    }
}

/// pam_conv(3): hands the password to prompts that don't echo, the login to those that do.
extern "C" fn converse(
    count: c_int,
    messages: *mut *const Message,
    responses: *mut *mut Response,
    answers: *mut c_void,
) -> c_int {
    let count = match usize::try_from(count) {
        Ok(n @ 1..=MESSAGES_LIMIT) => n,
        _ => return PAM_CONV_ERR,
    };
    if messages.is_null() || responses.is_null() || answers.is_null() {
        return PAM_CONV_ERR;
    }
    // SAFETY: `check` put a pointer to its Answers here, and they outlive the handle.
    let answers: &Answers = unsafe { &*answers.cast() };
    // SAFETY: PAM frees the array with free(3), so calloc(3) makes it; all-zero
    // is a valid Response.
    let made: *mut Response = unsafe { libc::calloc(count, size_of::<Response>()) }.cast();
    if made.is_null() {
        return PAM_BUF_ERR;
    }
    for i in 0..count {
        // SAFETY: Linux-PAM passes an array of `count` pointers to messages.
        let style = unsafe {
            let message = *messages.add(i);
            message.as_ref().map(|m| m.style)
        };
        let text = match style {
            Some(PAM_PROMPT_ECHO_OFF) => &answers.password,
            Some(PAM_PROMPT_ECHO_ON) => &answers.login,
            // Nothing to say, and no text in the response.
            Some(PAM_ERROR_MSG | PAM_TEXT_INFO) => continue,
            _ => {
                free(made, i);
                return PAM_CONV_ERR;
            }
        };
        // SAFETY: a C string; `i` is below `count`, for which calloc made room.
        unsafe { (*made.add(i)).text = libc::strdup(text.as_ptr()) };
    }
    // SAFETY: not null, and PAM expects the array's address there.
    unsafe { *responses = made };
    PAM_SUCCESS
}

/// Frees the first `count` texts and the array, wiping passwords.
fn free(made: *mut Response, count: usize) {
    for i in 0..count {
        // SAFETY: `converse` made the array with at least `count` places; each
        // text is null or from strdup(3).
        unsafe {
            let text = (*made.add(i)).text;
            if !text.is_null() {
                libc::explicit_bzero(text.cast(), libc::strlen(text));
                libc::free(text.cast());
            }
        }
    }
    // SAFETY: calloc(3) made it, and nobody else has it.
    unsafe { libc::free(made.cast()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Answers {
        Answers {
            login: c"alice".to_owned(),
            password: c"secret".to_owned(),
        }
    }

    fn say(styles: &[c_int]) -> Result<Vec<Option<String>>, c_int> {
        let answers = answers();
        let messages: Vec<Message> = styles
            .iter()
            .map(|style| Message {
                style: *style,
                text: c"?".as_ptr(),
            })
            .collect();
        let mut pointers: Vec<*const Message> = messages.iter().map(ptr::from_ref).collect();
        let mut made = ptr::null_mut();
        let code = converse(
            styles.len() as c_int,
            pointers.as_mut_ptr(),
            &mut made,
            ptr::from_ref(&answers).cast_mut().cast(),
        );
        if code != PAM_SUCCESS {
            return Err(code);
        }
        let texts = (0..styles.len())
            .map(|i| {
                // SAFETY: converse succeeded, so there are as many responses as messages.
                let text = unsafe { (*made.add(i)).text };
                (!text.is_null()).then(|| {
                    // SAFETY: a text that is not null is a C string.
                    let text = unsafe { std::ffi::CStr::from_ptr(text) };
                    text.to_str().unwrap().to_owned()
                })
            })
            .collect();
        free(made, styles.len());
        Ok(texts)
    }

    #[test]
    fn the_conversation() {
        let (password, login) = (Some("secret".to_owned()), Some("alice".to_owned()));
        assert_eq!(say(&[PAM_PROMPT_ECHO_OFF]), Ok(vec![password.clone()]));
        assert_eq!(
            say(&[PAM_PROMPT_ECHO_ON, PAM_TEXT_INFO, PAM_PROMPT_ECHO_OFF]),
            Ok(vec![login, None, password])
        );
        assert_eq!(say(&[PAM_PROMPT_ECHO_OFF, 99]), Err(PAM_CONV_ERR));
        assert_eq!(say(&[]), Err(PAM_CONV_ERR));
        assert_eq!(say(&[PAM_TEXT_INFO; 33]), Err(PAM_CONV_ERR));
    }
}
