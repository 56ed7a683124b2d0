// The types of PKCS #11 for the Upstream target, its only importer. Only the header of p11-kit is used:
// nothing is linked, for the operator names the module that is opened.
#pragma once
#include <p11-kit-1/p11-kit/pkcs11.h>

/// What a module's one exported function is.
typedef CK_RV (*cpkcs11_get_function_list)(CK_FUNCTION_LIST_PTR *list);
