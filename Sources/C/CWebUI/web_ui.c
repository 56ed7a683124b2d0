// The files of ui/, compiled in as they are: a server that was started has its UI with it, whatever becomes of
// the disk. SwiftPM's own way (.embedInCode) makes a Swift literal of each byte and takes minutes; #embed takes
// none. A file that is missing here fails ServerTests/WebUITests.theTableHasEveryFile.
#include "CWebUI.h"

#define HTML "text/html; charset=utf-8"
#define CSS "text/css; charset=utf-8"
#define SCRIPT "text/javascript; charset=utf-8"
#define SVG "image/svg+xml"

static const unsigned char index_html[] = {
#embed "../../../ui/index.html"
};
static const unsigned char api_js[] = {
#embed "../../../ui/assets/api.js"
};
static const unsigned char app_js[] = {
#embed "../../../ui/assets/app.js"
};
static const unsigned char auth_methods_js[] = {
#embed "../../../ui/assets/auth-methods.js"
};
static const unsigned char cluster_js[] = {
#embed "../../../ui/assets/cluster.js"
};
static const unsigned char dom_js[] = {
#embed "../../../ui/assets/dom.js"
};
static const unsigned char engines_js[] = {
#embed "../../../ui/assets/engines.js"
};
static const unsigned char forms_js[] = {
#embed "../../../ui/assets/forms.js"
};
static const unsigned char icon_svg[] = {
#embed "../../../ui/assets/icon.svg"
};
static const unsigned char init_js[] = {
#embed "../../../ui/assets/init.js"
};
static const unsigned char json_js[] = {
#embed "../../../ui/assets/json.js"
};
static const unsigned char kv_browse_js[] = {
#embed "../../../ui/assets/kv-browse.js"
};
static const unsigned char kv_edit_js[] = {
#embed "../../../ui/assets/kv-edit.js"
};
static const unsigned char kv_history_js[] = {
#embed "../../../ui/assets/kv-history.js"
};
static const unsigned char kv_metadata_js[] = {
#embed "../../../ui/assets/kv-metadata.js"
};
static const unsigned char kv_secret_js[] = {
#embed "../../../ui/assets/kv-secret.js"
};
static const unsigned char kv_js[] = {
#embed "../../../ui/assets/kv.js"
};
static const unsigned char policies_js[] = {
#embed "../../../ui/assets/policies.js"
};
static const unsigned char router_js[] = {
#embed "../../../ui/assets/router.js"
};
static const unsigned char session_js[] = {
#embed "../../../ui/assets/session.js"
};
static const unsigned char signin_js[] = {
#embed "../../../ui/assets/signin.js"
};
static const unsigned char style_css[] = {
#embed "../../../ui/assets/style.css"
};
static const unsigned char token_js[] = {
#embed "../../../ui/assets/token.js"
};
static const unsigned char tools_js[] = {
#embed "../../../ui/assets/tools.js"
};
static const unsigned char unseal_js[] = {
#embed "../../../ui/assets/unseal.js"
};
static const unsigned char widgets_js[] = {
#embed "../../../ui/assets/widgets.js"
};

#define FILE_AT(path, type, bytes) {path, type, bytes, sizeof bytes}

static const holdfast_web_file files[] = {
    FILE_AT("/ui/", HTML, index_html),
    FILE_AT("/ui/assets/api.js", SCRIPT, api_js),
    FILE_AT("/ui/assets/app.js", SCRIPT, app_js),
    FILE_AT("/ui/assets/auth-methods.js", SCRIPT, auth_methods_js),
    FILE_AT("/ui/assets/cluster.js", SCRIPT, cluster_js),
    FILE_AT("/ui/assets/dom.js", SCRIPT, dom_js),
    FILE_AT("/ui/assets/engines.js", SCRIPT, engines_js),
    FILE_AT("/ui/assets/forms.js", SCRIPT, forms_js),
    FILE_AT("/ui/assets/icon.svg", SVG, icon_svg),
    FILE_AT("/ui/assets/init.js", SCRIPT, init_js),
    FILE_AT("/ui/assets/json.js", SCRIPT, json_js),
    FILE_AT("/ui/assets/kv-browse.js", SCRIPT, kv_browse_js),
    FILE_AT("/ui/assets/kv-edit.js", SCRIPT, kv_edit_js),
    FILE_AT("/ui/assets/kv-history.js", SCRIPT, kv_history_js),
    FILE_AT("/ui/assets/kv-metadata.js", SCRIPT, kv_metadata_js),
    FILE_AT("/ui/assets/kv-secret.js", SCRIPT, kv_secret_js),
    FILE_AT("/ui/assets/kv.js", SCRIPT, kv_js),
    FILE_AT("/ui/assets/policies.js", SCRIPT, policies_js),
    FILE_AT("/ui/assets/router.js", SCRIPT, router_js),
    FILE_AT("/ui/assets/session.js", SCRIPT, session_js),
    FILE_AT("/ui/assets/signin.js", SCRIPT, signin_js),
    FILE_AT("/ui/assets/style.css", CSS, style_css),
    FILE_AT("/ui/assets/token.js", SCRIPT, token_js),
    FILE_AT("/ui/assets/tools.js", SCRIPT, tools_js),
    FILE_AT("/ui/assets/unseal.js", SCRIPT, unseal_js),
    FILE_AT("/ui/assets/widgets.js", SCRIPT, widgets_js),
};

size_t holdfast_web_file_count(void) { return sizeof files / sizeof *files; }

const holdfast_web_file *holdfast_web_file_at(size_t place) { return &files[place]; }
