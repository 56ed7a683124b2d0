/// A public key made for these tests; nobody has its private half.
package enum PGPFixture {
    /// In base64, without armor.
    package static let publicKey = [
        "mQENBGsGXQABCADRkc6OfXSEKJw+qjt5fmmhW5Mq8a11cGu3AZeovKRZe1UOXqHWeLtP9nCGnafksJHzw4UAOV9yvw+Gi+v7",
        "BqCwgg+JIE/4iDRFXyZhK78Nvilant5vd2i+camlbz+dNi3NWZb1+CKxk94cBKzTNemEpCHYAV1qGF9M8Jm4qXYniEq+EPDi",
        "D9lspuSjs9duxbkkQmjg3K/IaGSsDuqzAUYLWlbaEuM2nxB4sgri4DBkHHR9MPM1MthvUegnv9CysuLO0IlKCCNlzIwD0F8+",
        "TuOJWZy8GM19Hc+O4Rhwz+R1OjTKJdKvb6DyrX2sD3nj4tYCVswAx+uuNGj5E2/oJzy/ABEBAAG0F1Rlc3QgPHRlc3RAZXhh",
        "bXBsZS5jb20+iQFOBBMBCgA4FiEEW5fuxxaoHA9YH1aYUoSqTy03AEcFAmsGXQACGwMFCwkIBwIGFQoJCAsCBBYCAwECHgEC",
        "F4AACgkQUoSqTy03AEcPjggAu3mwpy9GpnzHQBZEKeV4lp2oHDQjpfflVeEnR2B1rblBFxkfF/cXsoaI5+kYMbFUDgaW/GJj",
        "WLG0XlzWT/JjtV0kqOTimRlBm8pUbyur1RPx9tee948d8yhvgRvTApUhi+RwyaXlST7lRNd14lWjarDy89sljhKPQ3yAToD4",
        "SotT/MAlwAARbZQo0NTVezNcCtMCJZkVudGldyb+sgB2AkRkiSVM65NGN2Jx8/I1h10hkTSihmQA5fgSRim95PXV5ziXOnv/",
        "ePXD++IjspZx1gXfkTGSM2D2el46JDTnKLN8nJ5BdZZf/JcIAGTXoZvxupzA8J3w1Vi4kuoXzYplkrkBDQRrBl0BAQgA09vO",
        "WYHFZwjEIzEfrMipVGPVfqn95x5jmaFS7lILq6nOUxrTDBtd7ZiTDck1qdDrZpl2DGORfn9HJXON2I6bDYlYTYA7ZPG7IZYE",
        "Ag5oaOqBfO27q6RuV6mFsVLmgYi5SZIjFNqph0YQT4/ZUf5ycyYxYj8zSqgvX0lyFlUk1QMjGolu1aEfVNiHnaM6w8P/5rfS",
        "2AB0lwxDn7lymiUhGTwVOStawVNu78Vp3Oz5UuhtYMi4TIPMnzoSF6O1wZHSIdGgMOpJ8GAZPklbL28ZJhbDcAkymGuFSIM/",
        "GW68JMpMaz7f4NmDBi2gnWalGMg36Ro+bttaegSY9knECwUxvQARAQABiQE2BBgBCgAgFiEEW5fuxxaoHA9YH1aYUoSqTy03",
        "AEcFAmsGXQECGwwACgkQUoSqTy03AEdNfgf/RyNjAQ0em/OWojWka3VSsDTT4Fs15AQL/S2tYOaYapyFUbupGyelqGa9x0cu",
        "vSAKtgBcUIGpAcryCVVOZn5vW4BNIscqmOequPx6sN+gdqgxspGcz/WImOGnAsE/1HgqPmEyN/oXAojcUqT25YYEAicZWyxG",
        "I/vTYvmmKXrEDhdD8Lyo+JKC8an5I076cLwKsgoY5GzSMQe9uIc14eO6PPS/92W/+gGpujhPJoBD8Sk9AT3nK9RbxjZgpMsN",
        "CWsINA8jwNFI+yNkjK3PFNA2OZKfIB9xOtneSjr5MrrDWkayBdpU6W7+GGJXHx+Z84KmhlB/FgDRnPFzs68EwZPUBg==",
    ].joined()
}
