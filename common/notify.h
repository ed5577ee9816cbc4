/*
 * Tells the service manager that started us how we are, by the protocol of sd_notify(3): datagrams to the socket that
 * $NOTIFY_SOCKET names.  Without one nothing happens.  No state; any thread.
 */
#ifndef ENXAME_NOTIFY_H
#define ENXAME_NOTIFY_H

#include <stdint.h>

/* "READY=1", "STOPPING=1", "WATCHDOG=1", with others on lines of their own.  Where that fails there is nobody to tell. */
void notify_send(const char *state);

/* How often "WATCHDOG=1" is to be sent, in half of the time after which we are taken for dead; 0: nobody waits for it. */
uint64_t notify_watchdog_ms(void);

#endif
