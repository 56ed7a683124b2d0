// A PKCS #11 module in front of another: as slow, or as ill, as a file says at each call. HSM_MODULE names the module
// behind, HSM_CONTROL the file: milliseconds that each call takes which a real HSM would have to be asked for, and what
// C_OpenSession, C_Encrypt, C_Decrypt and C_Login answer (a CKR_ number; 0 lets the call through).
#include <dlfcn.h>
#include <p11-kit-1/p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST ours;

enum { OPEN = 1, ENCRYPT, DECRYPT, LOGIN, WORDS };

static CK_RV ask(int which) {
    long words[WORDS] = {0};
    const char *path = getenv("HSM_CONTROL");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (file) {
        for (int i = 0; i < WORDS && fscanf(file, "%ld", &words[i]) == 1; i++) {}
        fclose(file);
    }
    usleep((useconds_t)words[0] * 1000);
    return (CK_RV)words[which];
}

static CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, void *application, CK_NOTIFY notify, CK_SESSION_HANDLE *session) {
    CK_RV code = ask(OPEN);
    return code ? code : real->C_OpenSession(slot, flags, application, notify, session);
}

static CK_RV login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR *pin, CK_ULONG length) {
    CK_RV code = ask(LOGIN);
    return code ? code : real->C_Login(session, user, pin, length);
}

static CK_RV encrypt(CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG count, CK_BYTE *out, CK_ULONG *made) {
    CK_RV code = ask(ENCRYPT);
    return code ? code : real->C_Encrypt(session, in, count, out, made);
}

static CK_RV decrypt(CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG count, CK_BYTE *out, CK_ULONG *made) {
    CK_RV code = ask(DECRYPT);
    return code ? code : real->C_Decrypt(session, in, count, out, made);
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list) {
    if (!real) {
        void *handle = dlopen(getenv("HSM_MODULE"), RTLD_NOW | RTLD_LOCAL);
        CK_RV (*get)(CK_FUNCTION_LIST **) = handle ? (CK_RV(*)(CK_FUNCTION_LIST **))dlsym(handle, "C_GetFunctionList") : NULL;
        if (!get || get(&real) != CKR_OK) return CKR_GENERAL_ERROR;
        ours = *real;
        ours.C_OpenSession = open_session;
        ours.C_Login = login;
        ours.C_Encrypt = encrypt;
        ours.C_Decrypt = decrypt;
    }
    *list = &ours;
    return CKR_OK;
}
