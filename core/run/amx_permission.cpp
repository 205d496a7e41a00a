#include "core/run/amx_permission.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "core/plan/eternal.hpp"
namespace tandem {
namespace {

// From the kernel's asm/prctl.h, which older headers lack.
constexpr long arch_request_permission = 0x1023, tile_data = 18;

Status ask() {
    if (syscall(SYS_arch_prctl, arch_request_permission, tile_data) == 0) return {};
    return Error{ErrorCode::unsupported,
                 fmt::format("the operating system refused the use of AMX tiles: {}", std::strerror(errno))};
}

}  // namespace

Status request_amx() {
    static constinit Eternal<const Status> answer;
    return answer.get(ask);
}

}  // namespace tandem
