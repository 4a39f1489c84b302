/* Whether AddressSanitizer is there, which is blind inside our mappings but for what we poison. */
#ifndef IH_OS_ASAN_H
#define IH_OS_ASAN_H

#if defined(__SANITIZE_ADDRESS__)
#define IH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IH_ASAN 1
#endif
#endif
#ifdef IH_ASAN
#include <sanitizer/asan_interface.h>
#endif

#endif
