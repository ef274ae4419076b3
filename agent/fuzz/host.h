/* The host, as an input of the fuzzer plays it, and what it holds the agent to. */
#ifndef HOST_H
#define HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void host_connect(const char *path);
void host_send(const uint8_t *bytes, size_t length); /* as much as the socket takes */
void host_feed(uint32_t channel, size_t count); /* INPUT at the right offset */
bool host_only_fed(void);                        /* nothing else was sent as INPUT */
void host_receive(size_t most);
void host_hang_up(void);
void host_reset(void);

#endif
