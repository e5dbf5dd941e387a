//! Civil time: what the clock and the time zone say, as mail writes it.

use std::time::{SystemTime, UNIX_EPOCH};

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A moment in a time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year.
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// 1 to 31.
    pub day: u64,
    /// 0 to 23.
    pub hour: u64,
    /// 0 to 59.
    pub minute: u64,
    /// 0 to 59.
    pub second: u64,
    weekday: u64,
    offset_minutes: i64,
    zone: String,
}

/// Seconds since 1970, now.
#[must_use]
pub fn now_unix() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

impl Civil {
    /// The moment in UTC.
    #[must_use]
    pub fn utc(unix: u64) -> Self {
        Civil::at(unix, 0, "UTC".into())
    }

    /// The moment where this process is.
    #[must_use]
    pub fn local(unix: u64) -> Self {
        let (offset_seconds, zone) = local_zone(unix);
        Civil::at(unix, offset_seconds / 60, zone)
    }

    fn at(unix: u64, offset_minutes: i64, zone: String) -> Self {
        let shifted = unix.saturating_add_signed(offset_minutes * 60);
        let (days, rest) = (shifted / 86_400, shifted % 86_400);
        let (year, month, day) = civil_from_days(days);
        Civil {
            year,
            month,
            day,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
            weekday: days % 7,
            offset_minutes,
            zone,
        }
    }

    /// `Sat, 21 Nov 2026 04:02:10 GMT` and the like, as sendmail's `$b`: RFC 5322
    /// section 3.3 with the zone's name as a comment (for UTC the name itself).
    #[must_use]
    pub fn rfc5322(&self) -> String {
        let sign = if self.offset_minutes < 0 { '-' } else { '+' };
        let offset = self.offset_minutes.unsigned_abs();
        let zone = match self.zone.as_str() {
            "" | "UTC" if offset == 0 => "GMT".to_owned(),
            "GMT" => "GMT".to_owned(),
            name if name.bytes().all(|c| c.is_ascii_alphabetic()) && !name.is_empty() => {
                format!("{sign}{:02}{:02} ({name})", offset / 60, offset % 60)
            }
            _ => format!("{sign}{:02}{:02}", offset / 60, offset % 60),
        };
        format!(
            "{}, {} {} {} {:02}:{:02}:{:02} {zone}",
            self.weekday(),
            self.day,
            self.month_name(),
            self.year,
            self.hour,
            self.minute,
            self.second
        )
    }

    /// `Sat Nov 21 04:02:10 2026`, as ctime(3) and mbox files have it.
    #[must_use]
    pub fn ctime(&self) -> String {
        format!(
            "{} {} {:2} {:02}:{:02}:{:02} {}",
            self.weekday(),
            self.month_name(),
            self.day,
            self.hour,
            self.minute,
            self.second,
            self.year
        )
    }

    /// `Nov 21 04:02:10`, as syslog files have it.
    #[must_use]
    pub fn syslog(&self) -> String {
        format!(
            "{} {:2} {:02}:{:02}:{:02}",
            self.month_name(),
            self.day,
            self.hour,
            self.minute,
            self.second
        )
    }

    /// `202611210402`, sendmail's `$t`.
    #[must_use]
    pub fn stamp(&self) -> String {
        format!(
            "{:04}{:02}{:02}{:02}{:02}",
            self.year, self.month, self.day, self.hour, self.minute
        )
    }

    fn weekday(&self) -> &'static str {
        DAYS.get(self.weekday as usize).copied().unwrap_or("Thu")
    }

    fn month_name(&self) -> &'static str {
        MONTHS
            .get((self.month as usize).saturating_sub(1))
            .copied()
            .unwrap_or("Jan")
    }
}

/// Days since 1970-01-01 to year, month, day of the Gregorian calendar: counted in
/// eras of 400 years that begin on the first of March.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Offset in seconds east of UTC, and the zone's name.
#[allow(unsafe_code)] // localtime_r(3): the C library alone knows the time zone.
fn local_zone(unix: u64) -> (i64, String) {
    let time = libc::time_t::try_from(unix).unwrap_or(0);
    // SAFETY: both pointers are to live values; tm_zone points into the C
    // library's own storage, which stays while no other thread calls tzset(3)
    // with another TZ, and nobody does.
    unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&time, &mut tm).is_null() {
            return (0, String::new());
        }
        let zone = if tm.tm_zone.is_null() {
            String::new()
        } else {
            std::ffi::CStr::from_ptr(tm.tm_zone)
                .to_string_lossy()
                .into_owned()
        };
        (tm.tm_gmtoff, zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_mail_writes_them() {
        let at = Civil::utc(1_795_233_730);
        assert_eq!(at.rfc5322(), "Sat, 21 Nov 2026 04:02:10 GMT");
        assert_eq!(at.ctime(), "Sat Nov 21 04:02:10 2026");
        assert_eq!(at.stamp(), "202611210402");
        assert_eq!(
            Civil::utc(951_782_400).rfc5322(),
            "Tue, 29 Feb 2000 00:00:00 GMT"
        );
        let at = Civil::at(0, -210, "NST".into());
        assert_eq!(at.hour, 0, "before 1970 there is nothing");
        let at = Civil::at(86_400, 330, "IST".into());
        assert_eq!(at.rfc5322(), "Fri, 2 Jan 1970 05:30:00 +0530 (IST)");
    }
}
