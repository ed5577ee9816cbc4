#include "units.h"

#include "limits.h"

#include <stdio.h>
#include <string.h>

/* Takes the leading decimal digits; NULL where there are none or the number overflows, else what follows them. */
static const char *take_digits(const char *text, uint64_t *ret)
{
    const char *position = text;
    uint64_t value = 0;
    for (; *position >= '0' && *position <= '9'; position++) {
        uint64_t digit = (uint64_t)(*position - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return NULL;
        value = value * 10 + digit;
    }
    *ret = value;
    return position == text ? NULL : position;
}

bool units_parse_size(const char *text, uint64_t *ret)
{
    static const char letters[] = "KMGTkmgt";
    uint64_t value;
    const char *rest = take_digits(text, &value);
    if (!rest)
        return false;
    unsigned shift = 0;
    if (*rest != '\0') {
        const char *letter = strchr(letters, *rest);
        if (!letter || rest[1] != '\0')
            return false;
        shift = 10 * ((unsigned)(letter - letters) % 4 + 1);
    }
    if (value > UINT64_MAX >> shift)
        return false;
    *ret = value << shift;
    return true;
}

enum err units_parse_rate(const char *text, uint64_t *ret, struct why *why)
{
    uint64_t value;
    if (strcmp(text, "unlimited") == 0)
        value = 0;
    else if (!units_parse_size(text, &value) || (value != 0 && (value < RATE_MIN || value > RATE_MAX)))
        return why_set(
            why, ERR_INVALID,
            "\"%.40s\" is no rate: it must be bytes a second from 1K to 1T, such as 500K or 10M, or unlimited", text);
    *ret = value;
    return ERR_OK;
}

void units_format_rate(uint64_t bytes_s, char ret_text[static UNITS_TEXT_SIZE])
{
    if (bytes_s == 0) {
        snprintf(ret_text, UNITS_TEXT_SIZE, "unlimited");
        return;
    }
    units_format_size(bytes_s, ret_text);
    size_t used = strlen(ret_text);
    snprintf(ret_text + used, UNITS_TEXT_SIZE - used, "/s");
}

bool units_parse_number(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *ret)
{
    uint64_t value;
    const char *rest = take_digits(text, &value);
    if (!rest || *rest != '\0' || value < minimum || value > maximum)
        return false;
    *ret = value;
    return true;
}

void units_format_size(uint64_t bytes, char ret_text[static UNITS_TEXT_SIZE])
{
    static const char prefixes[] = "KMGTPE";
    if (bytes < 1024) {
        snprintf(ret_text, UNITS_TEXT_SIZE, "%u B", (unsigned)bytes);
        return;
    }
    /* In whole tenths, as printf's %f would write the locale's decimal sign. */
    for (unsigned i = 0;; i++) {
        unsigned shift = 10 * (i + 1);
        uint64_t below = bytes & ((UINT64_C(1) << shift) - 1);
        uint64_t tenths = (bytes >> shift) * 10 + (below * 10 + (UINT64_C(1) << (shift - 1))) / (UINT64_C(1) << shift);
        if (tenths < 10240 || prefixes[i + 1] == '\0') {
            snprintf(ret_text, UNITS_TEXT_SIZE, "%u.%u %ciB", (unsigned)(tenths / 10), (unsigned)(tenths % 10),
                     prefixes[i]);
            return;
        }
    }
}

void units_format_duration(uint64_t ms, char ret_text[static UNITS_TEXT_SIZE])
{
    uint64_t seconds = ms / 1000, minutes = seconds / 60, hours = minutes / 60;
    if (ms < 1000)
        snprintf(ret_text, UNITS_TEXT_SIZE, "%u ms", (unsigned)ms);
    else if (minutes == 0)
        snprintf(ret_text, UNITS_TEXT_SIZE, "%u s", (unsigned)seconds);
    else if (hours == 0)
        snprintf(ret_text, UNITS_TEXT_SIZE, "%u min %02u s", (unsigned)minutes, (unsigned)(seconds % 60));
    else if (hours < 24)
        snprintf(ret_text, UNITS_TEXT_SIZE, "%u h %02u min", (unsigned)hours, (unsigned)(minutes % 60));
    else
        snprintf(ret_text, UNITS_TEXT_SIZE, "%llu d %u h", (unsigned long long)(hours / 24), (unsigned)(hours % 24));
}

/* `thousandths` of the unit, below 1,000 of it. */
static void format_three_digits(uint64_t thousandths, const char *unit, char ret_text[static UNITS_TEXT_SIZE])
{
    unsigned value = (unsigned)thousandths;
    if (value < 9995)
        snprintf(ret_text, UNITS_TEXT_SIZE, "%u.%02u %s", (value + 5) / 1000, (value + 5) % 1000 / 10, unit);
    else if (value < 99950)
        snprintf(ret_text, UNITS_TEXT_SIZE, "%u.%u %s", (value + 50) / 1000, (value + 50) % 1000 / 100, unit);
    else
        snprintf(ret_text, UNITS_TEXT_SIZE, "%u %s", (value + 500) / 1000, unit);
}

void units_format_time(uint64_t us, char ret_text[static UNITS_TEXT_SIZE])
{
    if (us < 999500)
        format_three_digits(us, "ms", ret_text);
    else if (us < UINT64_C(59949500))
        format_three_digits((us + 500) / 1000, "s", ret_text);
    else
        units_format_duration(us / 1000 + (us % 1000 >= 500), ret_text);
}
